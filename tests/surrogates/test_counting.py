"""Parameters by use, against the parts of a network that are known to serve each."""

import pytest
import torch

from slimwave.compression.counting import count_macs, count_parameters
from slimwave.surrogates.counting import count_parameters_by_use
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import NETWORKS, build_network
from slimwave.surrogates.runtimes import StepModule
from slimwave.surrogates.task import WaveTask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("conv", ["dense", "cp"])
def test_every_parameter_is_used_by_the_step_or_by_the_encoding(name: str, conv: str) -> None:
    model = build_network(NetworkConfig(name=name, width=4, conv=conv), TASK)  # type: ignore[arg-type]
    by_use = count_parameters_by_use(model)
    bounding = name in ("leapfrog", "macro_step")  # their strains also bound the stiffness of a medium
    both = by_use.per_step if bounding else 0
    assert by_use.per_step + by_use.per_medium == count_parameters(model) + both
    assert min(by_use.per_step, by_use.per_medium) > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_the_work_of_a_step_is_counted_whether_or_not_its_context_tracks_gradients(name: str) -> None:
    model = build_network(NetworkConfig(name=name), TASK)
    state = torch.randn(1, 2 * model.frames, 24, 24)
    medium = torch.full((1, 1, 24, 24), 1.5), torch.ones(1, 4)
    with torch.no_grad():
        fixed = model.encode(*medium)
    tracking = model.encode(*medium)
    counts = [count_macs(StepModule(model, context), state, *context) for context in (fixed, tracking)]
    assert counts[0] == counts[1] > 0


def test_the_encoder_of_a_gated_network_is_paid_once_per_medium() -> None:
    """Width 4, depth 2, k = 3: lift 2·4·9, block 4·4·9, head 4·2; encoder 4·9 + 4, gates 4·8 + 8."""
    model = build_network(NetworkConfig(name="gated_linear", width=4, depth=2, kernel_size=3), TASK)
    by_use = count_parameters_by_use(model)
    assert (by_use.per_step, by_use.per_medium) == (72 + 144 + 8, 40 + 40)
