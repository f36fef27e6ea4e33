"""Help of flags, from the docstrings of the settings; what jsonargparse leaves out is added here.

An entry of a docstring may be shared:

    learning_rate, warmup, weight_decay
        Peak rate, steps of linear warm-up to it, decoupled decay.

Each of these flags shows it whole, with the names in their order. The title of a group of flags is the first
line of its class.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from docstring_parser import Docstring, DocstringStyle, parse


def explain_flags(parser: Any, settings: dict[str, Any]) -> None:
    """Give every flag of a parser the help that its class documents, and every group its title.

    Parameters
    ----------
    parser
        A parser of jsonargparse.
    settings
        Dotted path of a group → its class; the empty path is the command's own.
    """
    texts = dict(_texts(settings))
    for action in parser._actions:
        if action.dest in texts and action.dest not in parser.groups:
            action.help = texts[action.dest]
    named = {settings[""].__name__: settings[""], **settings}  # jsonargparse names the outermost by its class
    for path, group in parser.groups.items():
        if path in named:
            group.title = _title(named[path])


def _texts(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted key of each documented flag, and its text."""
    for path, kind in settings.items():
        prefix = f"{path}." if path else ""
        for entry in _docstring(kind).params:
            names = entry.arg_name.split(", ")
            shared = f"{entry.arg_name}: " if len(names) > 1 else ""
            for name in names:
                yield f"{prefix}{name}", plain(shared + (entry.description or ""))


def _title(kind: Any) -> str:
    return plain(_docstring(kind).short_description or kind.__name__).rstrip(".:")


def _docstring(kind: Any) -> Docstring:
    return parse(inspect.getdoc(kind) or "", DocstringStyle.NUMPYDOC)


def plain(text: str) -> str:
    """Write a docstring's marks as a terminal shows them.

    >>> plain("See :class:`SAPConfig`;  ``true`` for all.")
    'See SAPConfig; `true` for all.'
    """
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return " ".join(text.replace("``", "`").split())
