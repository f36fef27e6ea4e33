"""Networks by name: what ``--network.name`` may be, and how a checkpoint finds its class again."""

from slimwave.surrogates.residual_cnn import ResidualCNN
from slimwave.surrogates.settings import NetworkConfig
from slimwave.surrogates.surrogate import Surrogate
from slimwave.surrogates.task import WaveTask

NETWORKS: dict[str, type[Surrogate]] = {"residual_cnn": ResidualCNN}


def build_network(config: NetworkConfig, task: WaveTask) -> Surrogate:
    """Construct the network that a configuration names, with fresh weights.

    Raises
    ------
    ValueError
        If the name is not registered, or the network's reach is too short for the task.
    """
    if config.name not in NETWORKS:
        raise ValueError(
            f"--network.name: no network is called {config.name!r}; available: {', '.join(sorted(NETWORKS))}"
        )
    return NETWORKS[config.name](config, task)
