"""Networks that step by shears keep their promises for any weights: reversible, superposing, bounded."""

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slimwave.compression.sap import PruningWarning, SAPPruner
from slimwave.surrogates.checkpoints import load_model
from slimwave.surrogates.mirrored import convolve
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.shears import LIMITS, stable_limit
from slimwave.surrogates.surrogate import Context, rebuild
from slimwave.surrogates.task import WaveTask
from slimwave.surrogates.training import train
from slimwave.surrogates.training_settings import FitConfig, TrainConfig
from slimwave.surrogates.walls import wall_mask

TASK = WaveTask(0.05, (0.0625, 0.0625), 2.0, (0.2, 1.5), (0.08, 0.7), 1.5, 0.3)
SIGNS = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)
NX, NY = 12, 11
SHAPES: dict[str, dict[str, Any]] = {
    "vectors": {"kernel_size": 3},
    "vectors order 2": {"kernel_size": 3, "time_order": 2},
    "dense": {"kernel_size": 3, "across": 3, "width": 3},
    "cp, deep": {"kernel_size": 3, "across": 3, "width": 2, "conv": "cp", "depth": 2, "time_order": 2},
}
MACRO = {"name": "macro_step", "width": 2, "coarsening": 1.3, "substeps": 4}
LEAPFROG = [pytest.param({**shape, "init": "random"}, id=name) for name, shape in SHAPES.items()]
LONG = [
    pytest.param({"kernel_size": 65}, id="65 taps"),
    pytest.param({"depth": 16, "width": 2}, id="16 deep"),
    pytest.param({"kernel_size": 9, "depth": 3, "across": 3, "width": 2}, id="long, across"),
]
EITHER = [*LEAPFROG, pytest.param(MACRO, id="macro step")]


def network(task: WaveTask = TASK, *, wild: bool = True, name: str = "leapfrog", **shape: Any) -> Any:
    """A network in double precision; if wild, with large random weights everywhere."""
    torch.manual_seed(0)
    model = build_network(NetworkConfig(name=name, **shape), task).double().eval()
    if wild:
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(3 * torch.randn_like(weight))
    return model


def scene(nx: int = NX, ny: int = NY) -> tuple[Tensor, Tensor, Tensor]:
    """Random states that rest on Dirichlet walls and random media, one for every mixture of walls."""
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(len(SIGNS), 2, nx, ny, generator=generator, dtype=torch.float64)
    wave_speed = 1 + torch.rand(len(SIGNS), 1, nx, ny, generator=generator, dtype=torch.float64)
    return state * wall_mask(SIGNS, nx, ny), wave_speed, SIGNS


def spread(context: Context, count: int, number: int = 0) -> Any:
    """The context of one sample, for a batch of ``count`` states."""
    return rebuild(
        context,
        [p[number : number + 1].expand(count, *p.shape[1:]) if p.numel() else p for p in context],
    )


def inner_product(first: Tensor, second: Tensor) -> Tensor:
    """Trapezoidal inner product over the grid."""
    weights = [torch.ones(nodes, dtype=torch.float64) for nodes in first.shape[-2:]]
    for weight in weights:
        weight[0] = weight[-1] = 0.5
    return torch.einsum("bcxy,bcxy,x,y->b", first, second, *weights)


@pytest.mark.parametrize("shape", LEAPFROG)
@pytest.mark.parametrize("spacing", [(0.0625, 0.0625), (0.0625, 0.08)], ids=["square", "oblong"])
def test_the_force_is_self_adjoint_and_positive_for_all_walls(
    shape: dict[str, Any], spacing: tuple[float, float]
) -> None:
    model = network(dataclasses.replace(TASK, spacing=spacing), **shape)
    state, wave_speed, walls = scene()
    context = model.encode(wave_speed, walls)
    u, w = state[:, :1], state[:, 1:]
    force = model.force(context)
    there, back = inner_product(force(u), w), inner_product(u, force(w))
    assert torch.allclose(there, back, rtol=0, atol=1e-12 * float(inner_product(u, u).max()))
    assert bool((inner_product(force(u), u) > 0).all())
    constant = torch.ones_like(u[-1:])
    free = spread(context, 1, 15)
    assert model.force(free)(constant).abs().max() < 1e-12


@pytest.mark.parametrize("shape", LEAPFROG)
def test_no_eigenvalue_of_the_force_is_negative_or_above_the_limit_dense_or_pruned(
    shape: dict[str, Any],
) -> None:
    """The whole operator as a matrix, for large random weights and after four rounds of pruning."""
    model = network(**shape)
    pruner = SAPPruner(model, beta=0.5)
    limit = LIMITS[shape.get("time_order", 4)]
    _, wave_speed, walls = scene()
    unit = torch.eye(NX * NY, dtype=torch.float64).reshape(-1, 1, NX, NY)
    for _ in range(5):
        for number in (0, 6, 15):
            some = slice(number, number + 1)
            context = model.encode(wave_speed[some], walls[some])
            many = spread(context, NX * NY)
            rows = model.force(many)(unit * context.mask).flatten(1)
            eigenvalues = torch.linalg.eigvals(rows)
            assert eigenvalues.imag.abs().max() < 1e-6
            assert -1e-9 < eigenvalues.real.min() < eigenvalues.real.max() < limit
            assert eigenvalues.real.max() > limit / 500
        pruner.prune_step()


@pytest.mark.parametrize(
    ("shape", "scope"),
    [
        *itertools.product(SHAPES, ["layer", "neuron"]),
        ("dense", "channel"),
        ("cp, deep", "term"),
        *itertools.product([MACRO["name"]], ["global", "layer", "neuron"]),
    ],
)
def test_pruning_in_any_scope_keeps_the_force_within_the_limit(shape: str, scope: str) -> None:
    """As a matrix after each of four rounds, for large random weights."""
    model = network(**(MACRO if shape == MACRO["name"] else {**SHAPES[shape], "init": "random"}))
    pruner = SAPPruner(model, scope=scope, schedule="lottery", rate=0.4)
    _, wave_speed, walls = (part[6:7] for part in scene(9, 8))
    for _ in range(4):
        with warnings.catch_warnings(action="ignore", category=PruningWarning):
            pruner.prune_step()
        assert pruner.kept < pruner.total
        eigenvalues = torch.linalg.eigvals(force_matrix(model, wave_speed, walls))
        assert eigenvalues.imag.abs().max() < 1e-6
        assert -1e-9 < eigenvalues.real.min() <= eigenvalues.real.max() < LIMITS[model.shape.time_order]


def force_matrix(model: Any, wave_speed: Tensor, walls: Tensor) -> Tensor:
    """dt² F of one medium, on the grid or the inner grid, as a matrix."""
    with torch.no_grad():
        context = model.encode(wave_speed, walls)
        inner = model.config.name == "macro_step"
        grid = context.gates_x.shape[-2:] if inner else wave_speed.shape[-2:]
        unit = torch.eye(math.prod(grid), dtype=torch.float64).reshape(-1, 1, *grid)
        rows: Tensor = model.force(spread(context, len(unit)))(unit if inner else unit * context.mask)
    return rows.flatten(1)


def test_the_bound_is_close_where_the_medium_is_uniform() -> None:
    """Against the exact symbol of the stencil at the Nyquist wavenumber of both axes."""
    model = network(wild=False, kernel_size=3)
    wave_speed = torch.full((1, 1, NX, NY), 2.0, dtype=torch.float64)
    with torch.no_grad():
        bound = model._largest_eigenvalue([(0.05 / 3 / 0.0625) ** 2 * wave_speed.square()] * 2)
    taps = torch.tensor([75 / 64, -25 / 384, 3 / 640], dtype=torch.float64)
    exact = 2 * (2 * taps.abs().sum()) ** 2 * (0.05 / 3 / 0.0625 * 2.0) ** 2
    assert 1 <= float(bound / exact) < 1.01


@pytest.mark.parametrize("shape", EITHER)
def test_the_bound_holds_for_the_weights_themselves_when_training_rounds_to_bfloat16(
    shape: dict[str, Any],
) -> None:
    """Encoded under autocast, the bound on λ_max(F) in single precision is the limit wild weights meet."""
    model = network(**shape).float()
    _, wave_speed, walls = (part.float() for part in scene())
    limit = stable_limit(shape.get("time_order", 4))
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            context = model.encode(wave_speed, walls)
        if shape.get("name") == "macro_step":
            gates = (context.gates_x, context.gates_y)
            bound = model._largest_eigenvalue(gates, context.hats_x, context.hats_y)
        else:
            bound = model._largest_eigenvalue([context.along_x, context.along_y])
    assert torch.allclose(bound, torch.full_like(bound, limit), rtol=1e-5)


@pytest.mark.parametrize("shape", EITHER)
def test_steps_are_those_of_full_precision_when_training_rounds_to_bfloat16(shape: dict[str, Any]) -> None:
    """A force is a difference of neighbours, of which bfloat16 leaves little: they are not computed in it."""
    model = network(**shape).float()
    scenery = [part.float() for part in scene()]
    with torch.no_grad():
        expected = model(*scenery)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model(*scenery), expected)


@pytest.mark.parametrize("shape", LONG)
def test_a_long_or_deep_strain_is_bounded(shape: dict[str, Any]) -> None:
    """No eigenvalue of the force is negative or above the limit, for large random weights."""
    model = network(**shape, init="random")
    wave_speed, walls = (part[6:7] for part in scene(7, 6)[1:])
    unit = torch.eye(7 * 6, dtype=torch.float64).reshape(-1, 1, 7, 6)
    with torch.no_grad():
        context = model.encode(wave_speed, walls)
        rows = model.force(spread(context, 7 * 6))(unit * context.mask).flatten(1)
    eigenvalues = torch.linalg.eigvals(rows)
    assert eigenvalues.imag.abs().max() < 1e-6
    assert -1e-9 < eigenvalues.real.min() < eigenvalues.real.max() < LIMITS[4]
    assert eigenvalues.real.max() > LIMITS[4] / 1000


@pytest.mark.parametrize("shape", [*LONG, *LEAPFROG])
def test_no_wavenumber_exceeds_the_bound_on_the_strain(shape: dict[str, Any]) -> None:
    """Â at random wavenumbers, summed tap by tap, against the largest value of the sampled symbol."""
    strain = network(**{**shape, "init": "random"})._strain(0)
    with torch.no_grad():
        bound = strain.symbol().amax(dim=(1, 2))
        size = 2 * strain.reach_along - 1, 2 * strain.reach_across
        impulse = torch.zeros(1, 1, *(2 * s + 1 for s in size), dtype=torch.float64)
        impulse[..., size[0], size[1]] = 1.0
        kernel = convolve(impulse, strain.factors(turned=False))[0].to(torch.complex128)
    theta = math.pi * torch.rand(2, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    waves = [
        torch.exp(1j * angle[:, None] * torch.arange(taps))
        for angle, taps in zip(theta, kernel.shape[1:], strict=True)
    ]
    response = torch.einsum("jab,na,nb->jn", kernel, *waves).abs().square()
    assert bool((response.amax(dim=1) < bound).all())
    assert bool((response.amax(dim=1) > bound / 2).all())


@pytest.mark.parametrize(
    "shape", [*LONG, {}, {"across": 3}, {"kernel_size": 33}, {"depth": 8}, {"time_order": 2}]
)
def test_the_fastest_wave_is_not_slowed_with_the_fewest_substeps_that_are_accepted(
    shape: dict[str, Any],
) -> None:
    """A fresh strain keeps the stiffness dt² c² / h² in a medium of the task's largest speed."""
    for substeps in range(1, 30):
        try:
            model = network(wild=False, **shape, substeps=substeps)
            break
        except ValueError as error:
            assert "use --network.substeps" in str(error)
    medium = torch.full((1, 1, NX, NY), TASK.max_speed, dtype=torch.float64)
    stiffness = model.encode(medium, SIGNS[:1]).along_x.detach()
    expected = (TASK.macro_step / substeps / TASK.spacing[0] * TASK.max_speed) ** 2
    assert float(stiffness.min()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", EITHER)
def test_nothing_grows_in_10000_steps_whatever_the_weights(shape: dict[str, Any]) -> None:
    """The whole step as a matrix M. Where F vanishes u drifts with v; v itself never grows."""
    model = network(**shape)
    unit = torch.eye(2 * NX * NY, dtype=torch.float64).reshape(-1, 2, NX, NY)
    for number in (1, 6):
        _, wave_speed, walls = (part[number : number + 1] for part in scene())
        with torch.no_grad():
            context = model.encode(wave_speed, walls)
            many = spread(context, len(unit))
            step = model.step(unit * wall_mask(walls, NX, NY), many).flatten(1)
        rows = step.reshape(len(unit), 2, -1)
        assert 0.5 < float(torch.linalg.matrix_norm(step, 2)) < 1e4
        for steps in (100, 1000, 10_000):
            power = torch.linalg.matrix_power(step, steps).reshape(rows.shape)
            scale = TASK.macro_step * torch.linalg.matrix_norm(step, 2)
            assert float(power[:, 1].abs().max()) < 1e3 * float(torch.linalg.matrix_norm(step, 2))
            assert float(power[:, 0].abs().max()) < 1e3 * steps * float(scale)


@pytest.mark.parametrize("shape", EITHER)
def test_reversing_the_velocity_retraces_100_steps_and_superposition_holds(shape: dict[str, Any]) -> None:
    """In single precision, relative to the largest state on the way."""
    model = network(**shape).float()
    state, wave_speed, walls = (part[5:6].float() for part in scene())
    other = scene()[0][5:6].float().flip(3) * wall_mask(walls, NX, NY)
    turn = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    with torch.no_grad():
        context = model.encode(wave_speed, walls)
        three = spread(context, 3)
        state, other = (model.step(start, context) for start in (state, other))  # within the band
        states, size = torch.cat([state, other, 2 * state - 3 * other]), 0.0
        for _ in range(100):
            states = model.step(states, three)
            size = max(size, float(states.abs().max()))
        back = turn * states[:1]
        for _ in range(100):
            back = model.step(back, context)
    assert float((turn * back - state).abs().max()) < 1e-5 * size
    assert float((states[2] - 2 * states[0] + 3 * states[1]).abs().max()) < 1e-5 * size


@pytest.mark.parametrize("shape", EITHER)
def test_dirichlet_walls_rest_even_if_the_state_moves_there(shape: dict[str, Any]) -> None:
    """A step is that of the state without what it has on the walls."""
    model = network(**shape)
    _, wave_speed, walls = scene()
    state = torch.randn(len(walls), 2, NX, NY, dtype=torch.float64)
    mask = wall_mask(walls, NX, NY)
    following = model(state, wave_speed, walls)
    assert float((following * (1 - mask)).abs().max().detach()) < 1e-9
    assert torch.allclose(following, model(state * mask, wave_speed, walls), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", EITHER)
def test_symmetries_of_the_square_hold_exactly(shape: dict[str, Any]) -> None:
    """Flip along x, then exchange x and y, of state, medium and walls alike."""
    model = network(**shape)
    state, wave_speed, walls = scene()
    moved_walls = walls[:, [2, 3, 1, 0]]
    moved = [field.flip(2).transpose(2, 3) for field in (state, wave_speed)]
    expected = model(state, wave_speed, walls).flip(2).transpose(2, 3)
    assert torch.allclose(model(*moved, moved_walls), expected, atol=1e-10)


@pytest.mark.parametrize("sign", [-1.0, 1.0], ids=["dirichlet", "neumann"])
@pytest.mark.parametrize("shape", LEAPFROG)
def test_a_wall_equals_the_mirrored_half_of_a_larger_domain(shape: dict[str, Any], sign: float) -> None:
    """In a medium that varies along the wall, whose mirror image has no kink."""
    model = network(**shape)
    state, wave_speed, _ = (part[:1] for part in scene())
    walls = torch.tensor([[sign, -1.0, 1.0, -1.0]], dtype=torch.float64)
    state = state * wall_mask(walls, NX, NY)
    wave_speed = wave_speed[:, :, :1].expand(-1, -1, NX, -1)
    unfolded = torch.cat([sign * state[:, :, 1:].flip(2), state], dim=2)
    medium = wave_speed[:, :, :1].expand(-1, -1, 2 * NX - 1, -1)
    here = model(state, wave_speed, walls)
    there = model(unfolded, medium, torch.tensor([[-1.0, -1.0, 1.0, -1.0]], dtype=torch.float64))
    assert torch.allclose(here, there[:, :, NX - 1 :], atol=1e-10)


@pytest.mark.parametrize(
    ("shape", "tolerance"),
    [
        ({"time_order": 2, "substeps": 4}, 4e-2),
        ({"time_order": 4, "substeps": 4}, 2e-4),
        ({"name": "macro_step", "substeps": 4}, 2e-4),
    ],
    ids=["order 2", "order 4", "macro step"],
)
def test_a_standing_wave_keeps_time_before_any_training(shape: dict[str, Any], tolerance: float) -> None:
    """Against the formula cos(ωt) cos(2πx) sin(3πy) in a uniform medium, after 40 steps."""
    task = dataclasses.replace(TASK, spacing=(1 / 24, 1 / 20), macro_step=0.04, max_speed=1.5)
    model = network(task, wild=False, **shape)
    x = torch.linspace(0, 1, 25, dtype=torch.float64)[:, None]
    y = torch.linspace(0, 1, 21, dtype=torch.float64)
    mode = torch.cos(2 * math.pi * x) * torch.sin(3 * math.pi * y)
    rate = 1.5 * math.pi * math.hypot(2, 3)
    state = torch.stack([mode, torch.zeros_like(mode)])[None]
    context = model.encode(
        torch.full_like(state[:, :1], 1.5), torch.tensor([[1.0, 1.0, -1.0, -1.0]]).double()
    )
    with torch.no_grad():
        for _ in range(40):
            state = model.step(state, context)
    phase = rate * 40 * 0.04
    expected = torch.stack([math.cos(phase) * mode, -rate * math.sin(phase) * mode])[None]
    error = ((state - expected).abs().amax(dim=(0, 2, 3)) / torch.tensor([1.0, rate])).max()
    assert float(error) < tolerance


def test_energy_of_a_smooth_wave_hardly_drifts_in_1000_steps() -> None:
    """The energy ½ (|v|² + ⟨u, F u⟩) of a pulse in a random medium, for slightly disturbed weights."""
    model = network(wild=False, kernel_size=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    _, wave_speed, walls = (part[5:6] for part in scene())
    x, y = (torch.linspace(-1, 1, nodes, dtype=torch.float64) for nodes in (NX, NY))
    pulse = torch.exp(-8 * (x[:, None] ** 2 + y**2)) * wall_mask(walls, NX, NY)[0, 0]
    state = torch.stack([pulse, torch.zeros_like(pulse)])[None]
    with torch.no_grad():
        context = model.encode(wave_speed, walls)
        energies = []
        for _ in range(1000):
            state = model.step(state, context)
            u, w = state[:, :1], TASK.macro_step / 3 * state[:, 1:]
            energies.append(float(inner_product(w, w) + inner_product(u, model.force(context)(u))))
    drift = sum(energies[-100:]) / sum(energies[:100]) - 1
    assert abs(drift) < 0.01
    assert max(energies) < 1.2 * min(energies)


@pytest.mark.parametrize("order", [2, 4])
def test_a_pulse_leaves_through_absorbing_sides_and_energy_only_falls(order: int) -> None:
    """Where damping stands, step for step; of a pulse in the middle, a thousandth of the energy returns."""
    task = dataclasses.replace(TASK, spacing=(1 / 40, 1 / 40), macro_step=0.02, max_speed=1.0)
    model = network(task, wild=False, kernel_size=3, time_order=order)
    x = torch.linspace(0, 1, 41, dtype=torch.float64)
    pulse = torch.exp(-((x[:, None] - 0.5) ** 2 + (x - 0.5) ** 2) / (2 * 0.07**2))
    state = torch.stack([pulse, torch.zeros_like(pulse)])[None]
    energies = []
    with torch.no_grad():
        context = model.encode(torch.ones_like(state[:, :1]), torch.zeros(1, 4, dtype=torch.float64))
        for _ in range(75):
            u, w = state[:, :1], 0.02 / 3 * state[:, 1:]
            energies.append(float(inner_product(w, w) + inner_product(u, model.force(context)(u))))
            state = model.step(state, context)
    assert all(later < 1.01 * earlier for earlier, later in itertools.pairwise(energies))
    assert energies[-1] < 2e-3 * energies[0]
    assert float(state[:, 0].abs().max()) < 0.05


@pytest.mark.parametrize("walls", [(0, 0, 0, 0), (0, -1, 1, 1), (0, 1, -1, -1), (0, 0, -1, -1)])
@pytest.mark.parametrize("shape", LEAPFROG)
def test_nothing_grows_between_absorbing_sides_whatever_the_weights(
    shape: dict[str, Any], walls: tuple[int, ...]
) -> None:
    """The largest eigenvalue of the whole step, in media that vary, are uniform, and are far too fast."""
    model = network(**shape)
    codes = torch.tensor([walls], dtype=torch.float64)
    unit = torch.eye(2 * 10 * 9, dtype=torch.float64).reshape(-1, 2, 10, 9)
    varying = torch.rand(1, 1, 10, 9, dtype=torch.float64)
    for wave_speed in (1 + varying, torch.full_like(varying, 2.0), 10 + 50 * varying):
        with torch.no_grad():
            context = model.encode(wave_speed, codes)
            step = model.step(unit * context.mask, spread(context, len(unit))).flatten(1)
        assert float(torch.linalg.eigvals(step).abs().max()) < 1 + 1e-10


@pytest.mark.parametrize("shape", LEAPFROG)
def test_information_travels_no_further_than_the_reach(shape: dict[str, Any]) -> None:
    model = network(dataclasses.replace(TASK, macro_step=0.01), **shape, substeps=1)
    reach = model.reach
    nodes = 2 * reach + 5
    generator = torch.Generator().manual_seed(2)
    wave_speed = 1 + torch.rand(1, 1, nodes, nodes, generator=generator, dtype=torch.float64)
    state = torch.zeros(1, 2, nodes, nodes, dtype=torch.float64)
    state[0, 0, reach + 2, reach + 2] = 1.0
    changed = model(state, wave_speed, torch.ones(1, 4, dtype=torch.float64))[0].abs().amax(dim=0)
    assert (changed.nonzero() - reach - 2).abs().max() == reach


def test_too_few_substeps_are_refused_with_the_number_that_would_do() -> None:
    fast = dataclasses.replace(TASK, max_speed=8.0)
    with pytest.raises(ValueError, match=r"--network\.substeps 3: .* use --network\.substeps 7"):
        network(fast)
    assert network(fast, substeps=7).reach > 0


def test_a_grid_too_small_to_interpolate_the_medium_on_is_refused() -> None:
    _, wave_speed, walls = scene(6, 3)
    with pytest.raises(ValueError, match=r"expected a grid of at least 4 nodes .* got \(6, 3\)"):
        network().encode(wave_speed, walls)


@pytest.mark.parametrize("shape", [{"kernel_size": 3}, {"name": "macro_step", "coarsening": 1.0}])
def test_the_command_s_training_takes_it_and_its_checkpoint_returns(
    training: Callable[..., TrainConfig], tmp_path: Path, shape: dict[str, Any]
) -> None:
    """On pulses hardly wider than a cell, of which the fresh network forecasts most and training no less."""
    network = NetworkConfig(**{"name": "leapfrog", **shape})
    fit = FitConfig(steps=4, batch_size=2, learning_rate=1e-4, warmup=1, weight_decay=0.0, unroll=(1, 2))
    result = train(training(tmp_path / "run", network=network, fit=fit))
    assert result.rollout_error < 0.2
    assert load_model(result.folder).config == network.resolved()


def test_the_macro_step_s_force_is_self_adjoint_positive_and_within_the_limit() -> None:
    """As a matrix over the inner grid, for large random weights and all walls."""
    model = network(**MACRO)
    _, wave_speed, walls = scene()
    with torch.no_grad():
        context = model.encode(wave_speed, walls)
        inner = context.gates_x.shape[-2:]
        unit = torch.eye(math.prod(inner), dtype=torch.float64).reshape(-1, 1, *inner)
        for number in range(len(walls)):
            matrix = model.force(spread(context, len(unit), number))(unit).flatten(1)
            assert torch.allclose(matrix, matrix.T, atol=1e-12)
            eigenvalues = torch.linalg.eigvalsh(matrix)
            assert -1e-9 < eigenvalues.min() < eigenvalues.max() < LIMITS[4]


def test_a_macro_step_takes_any_grid_and_leaves_dirichlet_nodes_at_rest() -> None:
    for nx, ny in ((12, 11), (31, 9)):
        state, wave_speed, walls = scene(nx, ny)
        following = network(**MACRO)(state, wave_speed, walls)
        assert following.shape == state.shape
        assert float((following * (1 - wall_mask(walls, nx, ny))).abs().amax().detach()) < 1e-9


def test_what_a_macro_step_cannot_do_is_refused() -> None:
    _, wave_speed, walls = scene()
    model = network(**MACRO)
    with pytest.raises(ValueError, match=r"no standing waves between absorbing sides; use leapfrog"):
        model.encode(wave_speed, 0 * walls)
    with pytest.raises(
        ValueError, match=r"expected at least 4 nodes and 2 inner .* got \(3, 3\) and \(1, 1\)"
    ):
        model.encode(wave_speed[..., :3, :3], walls)
    long = dataclasses.replace(TASK, macro_step=0.5)
    with pytest.raises(ValueError, match=r"--network\.substeps 4: .* use --network\.substeps 16"):
        network(long, **MACRO)
    assert network(long, **{**MACRO, "substeps": 16}).reach >= long.cells_per_step
