"""Checks of single numbers that several descriptions share."""

import math


def check_positive(name: str, value: float) -> None:
    """ValueError that names the argument unless its value is positive and finite."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value:g}")
