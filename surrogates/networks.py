"""Networks by name: what ``--network.name`` may be, and how a checkpoint finds its class again."""

import math

import torch

from slimwave.compression.counting import count_parameters
from slimwave.surrogates.gated_linear import GatedLinearCNN
from slimwave.surrogates.leapfrog import LeapfrogCNN
from slimwave.surrogates.macro_step import MacroStepNetwork
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.residual_cnn import ResidualCNN
from slimwave.surrogates.space_time import SpaceTimeCNN
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.unet import UNet

NETWORKS: dict[str, type[Surrogate]] = {
    "gated_linear": GatedLinearCNN,
    "leapfrog": LeapfrogCNN,
    "macro_step": MacroStepNetwork,
    "residual_cnn": ResidualCNN,
    "space_time": SpaceTimeCNN,
    "unet": UNet,
}
MOST_PARAMETERS = 10**8


def build_network(config: NetworkConfig, task: WaveTask) -> Surrogate:
    """Construct the network that a configuration names, with fresh weights.

    Raises
    ------
    ValueError
        If the network has absurdly many parameters, or its reach is too short for the task.
    """
    network_skeleton(config, task)
    return NETWORKS[config.name](config.resolved(), task)


def network_skeleton(config: NetworkConfig, task: WaveTask) -> Surrogate:
    """Construct a network without memory for its weights (on torch's ``meta`` device), and check it.

    Constructors therefore must not look at the values of their weights.

    Raises
    ------
    ValueError
        As :func:`build_network`.
    """
    try:
        with torch.device("meta"):
            skeleton = NETWORKS[config.name](config.resolved(), task)
    except RuntimeError as error:  # sizes beyond 64 bits
        raise ValueError(f"{_too_large(config)}: {error}") from error
    if count_parameters(skeleton) > MOST_PARAMETERS:
        raise ValueError(f"{_too_large(config)}: {count_parameters(skeleton):.3g} parameters")
    _require_reach(skeleton)
    return skeleton


def _too_large(config: NetworkConfig) -> str:
    return (
        f"--network.width {config.resolved().width}: expected a network of at most {MOST_PARAMETERS:.0e} "
        "parameters, got one that is larger"
    )


def _require_reach(model: Surrogate) -> None:
    task = model.task
    needed = math.ceil(model.frames * task.cells_per_step - 1e-9)
    if model.reach < needed:
        frames = f", and {model.frames} steps are taken at once" if model.frames > 1 else ""
        raise ValueError(
            f"the network reaches {model.reach} cells, but a wave of speed {task.max_speed:g} crosses "
            f"{task.cells_per_step:.3g} cells in a macro step of {task.macro_step:g}{frames}; "
            f"expected a reach of at least {needed}: {model.reach_remedy(needed)}"
        )
