"""Settings as plain values, for YAML and JSON, and back.

>>> to_plain({"width": (0.06, 0.1), "output": Path("runs/data")})
{'width': [0.06, 0.1], 'output': 'runs/data'}
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Settings = TypeVar("Settings")

ACCEPTED: dict[Any, Any] = {float: (float, int), int: int, bool: bool, str: str}
"""Plain types that stand for a field's type; others are checked by their class."""


def to_plain(value: Any) -> Any:
    """Return settings or records as plain values: dicts, lists, strings, numbers, booleans and None."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def build(kind: type[Settings], values: Any) -> Settings:
    """Build a dataclass from plain values; the inverse of :func:`to_plain`.

    Raises
    ------
    ValueError
        For values of the wrong type, a missing or an unknown name.
    """
    built: Settings = _build(kind, values, kind.__name__)
    return built


def _build(kind: Any, values: Any, name: str) -> Any:
    if is_dataclass(kind):
        return _build_dataclass(kind, values, name)
    if get_origin(kind) in (Union, UnionType):
        inner = next(option for option in get_args(kind) if option is not type(None))
        return None if values is None else _build(inner, values, name)
    if get_origin(kind) is tuple and isinstance(values, list):
        return tuple(values)
    if kind is Path:
        return Path(values)
    if not isinstance(values, ACCEPTED.get(kind, object)):
        raise ValueError(f"{name}: expected {kind.__name__}, got {values!r}")
    return values


def _build_dataclass(kind: Any, values: Any, name: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{name}: expected a mapping, got {values!r}")
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise ValueError(f"{name}: unknown name {sorted(unknown)[0]!r}")
    hints = get_type_hints(kind)
    try:
        return kind(**{key: _build(hints[key], value, f"{name}.{key}") for key, value in values.items()})
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Return the dotted names under which two settings differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found[prefix + key] = (old, new)
    return found
