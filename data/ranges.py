"""Checks of settings' values, shared by all settings classes: one sentence that names the flag."""

import math


def require_at_least(flag: str, value: float, low: float) -> None:
    """Refuse a value below `low`, and one that is not finite."""
    if not low <= value < math.inf:
        raise ValueError(f"--{flag}: expected a value of at least {low}, got {value}")


def require_within(flag: str, value: float, low: float, high: float) -> None:
    """Refuse a value outside [low, high)."""
    if not low <= value < high:
        raise ValueError(f"--{flag}: expected a value in [{low}, {high}), got {value}")


def require_positive(flag: str, value: float) -> None:
    """Refuse a value that is not positive and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"--{flag}: expected a positive, finite number, got {value}")


def require_positive_range(flag: str, values: tuple[float, float]) -> None:
    """Refuse a range that is not [low, high] with 0 < low ≤ high < ∞."""
    if not 0 < values[0] <= values[1] < math.inf:
        raise ValueError(f"--{flag}: expected [low, high] with 0 < low <= high, got {list(values)}")


def require_range(flag: str, values: tuple[float, float]) -> None:
    """Refuse a range that is not [low, high] with 0 ≤ low ≤ high < ∞."""
    if not 0 <= values[0] <= values[1] < math.inf:
        raise ValueError(f"--{flag}: expected [low, high] with 0 <= low <= high, got {list(values)}")


def require_names(flag: str, values: tuple[str, ...]) -> None:
    """Refuse a choice of names that is empty or holds one twice."""
    if not values or len(set(values)) < len(values):
        raise ValueError(f"--{flag}: expected one or more names, each once, got {list(values)}")
