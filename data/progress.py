"""The progress bar of all jobs, on standard error: rate and time left.

On a terminal it is redrawn ten times a second; in a log file a line every ten seconds is enough.
"""

import sys
from typing import Any

from tqdm import tqdm

ON_A_TERMINAL, IN_A_LOG = 0.1, 10.0  # seconds between two drawings


def progress_bar(total: int, label: str, unit: str, *, shown: bool, initial: int = 0) -> "tqdm[Any]":
    """Return a bar to `update` as work is done; use it in a `with`.

    Parameters
    ----------
    total
        Units of work in all, `initial` of which are done already.
    label, unit
        What is done, and what one unit is called.
    shown
        Whether to draw anything.
    """
    return tqdm(
        total=total,
        initial=initial,
        desc=label,
        unit=unit,
        file=sys.stderr,
        disable=not shown,
        dynamic_ncols=True,
        mininterval=ON_A_TERMINAL if sys.stderr.isatty() else IN_A_LOG,
    )
