"""The picture of a pruning: PQ Index, weights kept and validation error over the rounds."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from slimwave import figures
from slimwave.data.durable import write_bytes
from slimwave.surrogates.pruning import PruneResult

PICTURE = "pruning.png"


def write_picture(result: PruneResult, tolerance: float | None) -> None:
    """Write `pruning.png` into the run folder."""
    rounds = [record.to_dict() for record in result.rounds]
    figure = pruning_figure(rounds, result.chosen_round, tolerance)
    write_bytes(result.folder / PICTURE, figures.to_png(figure))


def pruning_figure(rounds: Sequence[Mapping[str, Any]], chosen: int, tolerance: float | None) -> Figure:
    """Draw the records of a pruning, as its log holds them."""
    errors = [record["error"] for record in rounds]
    return figures.pruning_rounds(
        [record["pq_index_after"] for record in rounds],
        [record["weights_kept"] / record["weights_total"] for record in rounds],
        errors,
        [record["error_pruned"] for record in rounds],
        chosen=chosen,
        limit=tolerance * errors[0] if tolerance and errors[0] else None,
    )
