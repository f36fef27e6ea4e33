"""What a training tells of its epochs: a JSON line each and, if asked for, curves for TensorBoard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slimwave.data.run_folders import RunFolder
from slimwave.surrogates.runtimes import MissingExtraError
from slimwave.surrogates.training_settings import LogConfig

CURVES = "tensorboard"

Log = Callable[[dict[str, Any]], None]


@contextmanager
def training_logs(folder: RunFolder, config: LogConfig, *, write: bool) -> Iterator[Log]:
    """Yield a function that logs an epoch's record.

    An epoch that is in the log already, because the run was stopped between logging it and saving its
    position, is not logged again.

    Parameters
    ----------
    folder
        Run folder.
    config
        What to write beside ``log.jsonl``.
    write
        Whether this process writes at all.
    """
    logged = {entry["step"] for entry in folder.records()}
    curves = _summary_writer(folder.path / CURVES) if config.tensorboard and write else None

    def log(record: dict[str, Any]) -> None:
        if record["step"] in logged:
            return
        folder.log(**record)
        if curves is not None:
            _add_scalars(curves, record)

    try:
        yield log
    finally:
        if curves is not None:
            curves.close()


def require_tensorboard() -> None:
    """Require TensorBoard before any work.

    Raises
    ------
    MissingExtraError
        If the extra ``tensorboard`` is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "--log.tensorboard needs TensorBoard: pip install 'slimwave[tensorboard]', or leave it out"
        ) from error


def _summary_writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _add_scalars(curves: Any, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, float):
            curves.add_scalar(name, value, record["step"])
    curves.flush()
