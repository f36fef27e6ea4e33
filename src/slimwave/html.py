"""Building blocks of a self-contained HTML page: no script, no network, pictures inlined."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1d2329; background: #fff;
       max-width: 1180px; margin: 2.5rem auto 5rem; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin: 0 0 .2rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; border-bottom: 1px solid #e3e7ea; padding-bottom: .3rem; }
p { max-width: 46rem; }
.quiet { color: #5b6670; font-size: .92rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .4rem .45rem; text-align: right; border-bottom: 1px solid #e9edf0; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid #c9d1d7; font-weight: 600; vertical-align: bottom; white-space: normal; }
tbody tr:hover { background: #f6f8fa; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; }
.pair { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.pair figure { flex: 1 1 24rem; }
figcaption { color: #5b6670; font-size: .9rem; max-width: 46rem; }
pre { background: #f6f8fa; padding: .8rem 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; }
summary { cursor: pointer; color: #0b5cad; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole HTML document."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, quiet: bool = False) -> str:
    """Return a paragraph of plain text."""
    return f'<p class="quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose other columns are figures."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def picture(data: bytes, kind: str, alt: str, caption: str) -> str:
    """Return a figure with the picture inlined; `kind` is `png` or `gif`."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure><img src="{source}" alt="{escape(alt, quote=True)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def side_by_side(figures: Iterable[str]) -> str:
    """Return figures beside each other where the window is wide enough."""
    return f'<div class="pair">{"".join(figures)}</div>'


def folded(summary: str, text: str) -> str:
    """Return preformatted text behind a line to click on."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
