"""Figures as a person reads them, and tables that are plain text and valid Markdown at once."""

import math
from collections.abc import Iterable, Sequence

from slimwave.surrogates.comparison import Comparison
from slimwave.surrogates.competitors import Row

MISSING = "–"
PURE = ("vrmse_mean", "correlation")
"""Metrics that are written as numbers, the others in percent."""


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an aligned Markdown table; the first column is text, the others are figures.

    >>> print(markdown(["name", "n"], [["full", "12"], ["x", "3"]]))
    | name |  n |
    |:-----|---:|
    | full | 12 |
    | x    |  3 |
    """
    cells = [list(headers), *(list(row) for row in rows)]
    widths = [max(2, *(len(row[i]) for row in cells)) for i in range(len(headers))]
    aligned = [[c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
               for row in cells]  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in aligned]
    rule = ["-" * (w + 1) + ":" if i else ":" + "-" * (w + 1) for i, w in enumerate(widths)]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])


def count(value: float | None) -> str:
    """Write a count: `1 234`, `45.1 k`, `20.3 M`."""
    if value is None:
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):.1f} {unit}"
    return f"{value:,.0f}".replace(",", " ")


def size(value: int | None) -> str:
    """Write a number of bytes in kB (1000 bytes)."""
    return MISSING if value is None else f"{value / 1000:.1f} kB"


def percent(value: float | None) -> str:
    """Write a relative error in percent with two or three digits; what is not finite as `blown up`."""
    if value is None:
        return MISSING
    if not math.isfinite(value) or value > 1e3:
        return "blown up"
    scaled = 100 * value
    return f"{scaled:.0f} %" if scaled >= 100 else f"{scaled:.3g} %"


def plain(value: float | None) -> str:
    """Write a number with three digits; what is not finite as `blown up`."""
    if value is None:
        return MISSING
    return f"{value:.3g}" if math.isfinite(value) and abs(value) < 1e3 else "blown up"


def milliseconds(value: float | None) -> str:
    """Write a time in milliseconds with three digits."""
    return MISSING if value is None else f"{value:.3g}"


def comparison_table(comparison: Comparison, split: str) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the comparison on one split."""
    costs = ["parameters", "nonzeros", "on disk", "MACs/step", "nonzero MACs"]
    costs += ["ms/step, PyTorch / solver", "ms/step, ONNX", "ms/step, sparse"]
    headers, rows = error_table(comparison, split)
    merged = [
        [row.name, *_costs(row), *errors[1:]] for row, errors in zip(comparison.rows, rows, strict=True)
    ]
    return [headers[0], *costs, *headers[1:]], merged


def error_table(comparison: Comparison, split: str) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the errors on one split, without the costs."""
    steps = comparison.steps[split]
    headers = [
        "",
        *(f"error, step {step}" + (" (last)" if step == steps[-1] else "") for step in steps),
        f"valid time (≤ {100 * comparison.threshold:.0f} %)",
    ]
    return headers, [[row.name, *_errors(row, split, steps)] for row in comparison.rows]


SCORES = {
    "VRMSE, steps 6–12": ("vrmse_mean", "6-12"),
    "VRMSE, steps 13–30": ("vrmse_mean", "13-30"),
    "correlation": ("correlation", ""),
    "largest error": ("maximum", ""),
    "long waves": ("long", ""),
    "middle": ("middle", ""),
    "short": ("short", ""),
    "at walls": ("at_walls", ""),
    "inside": ("inside", ""),
    "energy": ("energy_error", ""),
}
"""Column → metric, and the window over which it is taken; none for the step that the table is about."""


def score_table(comparison: Comparison, split: str, step: int) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the further metrics on one split, at one step."""
    headers = ["", *SCORES]
    rows = []
    for row in comparison.rows:
        scores = (row.scores or {}).get(split, {})
        values = [
            (metric, scores.get(metric, {}).get(window or str(step))) for metric, window in SCORES.values()
        ]
        rows.append([row.name, *(plain(v) if m in PURE else percent(v) for m, v in values)])
    return headers, rows


def _costs(row: Row) -> list[str]:
    return [
        count(row.parameters),
        count(row.nonzeros),
        size(row.bytes),
        count(row.macs),
        count(row.nonzero_macs),
        milliseconds(latency(row, "eager", "solver")),
        milliseconds(latency(row, "onnx")),
        milliseconds(latency(row, "sparse")),
    ]


def _errors(row: Row, split: str, steps: Sequence[int]) -> list[str]:
    errors = (row.errors or {}).get(split, {})
    valid = (row.valid_time or {}).get(split)
    return [
        *(percent(errors.get(str(step))) for step in steps),
        MISSING if valid is None else f"{valid:.2f}",
    ]


def latency(row: Row, *runtimes: str) -> float | None:
    """Return the median process time per macro step in the first of these runtimes that was timed."""
    timed = row.latency or {}
    return next((timed[name].cpu_median for name in runtimes if name in timed), None)


def latency_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the latencies, one row per competitor and runtime."""
    headers = [
        "",
        "runtime",
        "median, ms",
        "95th percentile, ms",
        "median process time, ms",
        "calls",
        "once per medium, ms",
    ]
    rows = [
        [
            row.name,
            runtime,
            milliseconds(timed.median),
            milliseconds(timed.p95),
            milliseconds(timed.cpu_median),
            str(timed.calls),
            milliseconds(row.setup_ms),
        ]
        for row in comparison.rows
        for runtime, timed in (row.latency or {}).items()
    ]
    return headers, rows
