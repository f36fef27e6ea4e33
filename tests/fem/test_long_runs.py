"""Long runs: checkpoints that continue bit by bit, sizes that are refused, and where a solution came from."""

import numpy as np
import pytest

from slimwave import __version__
from slimwave.fem import memory
from slimwave.fem.boundaries import PML, Dirichlet
from slimwave.fem.checkpointing import Checkpoint, CheckpointMismatchError
from slimwave.fem.forcing import PointSource
from slimwave.fem.memory import MemoryLimitError
from slimwave.fem.meshes import disk, rectangle
from slimwave.fem.signals import Ricker
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace

TIMES = [0.0, 0.1, 0.2, 0.35, 0.6]
MESH = rectangle(elements=(6, 6))


def start(x, y):
    return np.exp(-((x - 0.4) ** 2 + (y - 0.5) ** 2) / 0.01)


class Interruption(Exception):
    """Stands for a crash."""


SOLVERS = [
    pytest.param(lambda: WaveSolver(MESH), [], id="free"),
    pytest.param(lambda: WaveSolver(disk(0.8, elements=3)), [], id="sparse"),
    pytest.param(lambda: WaveSolver(MESH, damping=1.0), [PointSource((0.3, 0.3), Ricker(4.0))], id="driven"),
    pytest.param(
        lambda: WaveSolver(
            MESH,
            boundaries={
                "left": PML(2),
                "right": "absorbing",
                "bottom": Dirichlet(lambda x, _, t: np.sin(t) * x),
                "top": "neumann",
            },
        ),
        [],
        id="layer",
    ),
]


@pytest.mark.parametrize(("make", "sources"), SOLVERS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("crash_after", [1, 3, 4])
def test_a_run_continues_bit_by_bit(make, sources, dtype, crash_after, tmp_path):
    """A run that dies after some outputs goes on from its checkpoint and ends as if it had never stopped."""
    solver = make()
    options = {"times": TIMES, "grid": (9, 9), "receivers": [[0.2, 0.3]], "nodes": True, "dtype": dtype}
    options |= {"sources": sources}
    straight = solver.run(start, **options)
    checkpoint = Checkpoint(tmp_path / "run.npz", steps=3)
    seen = []

    def crash(done, _):
        if done == crash_after:
            raise Interruption

    with pytest.raises(Interruption):
        solver.run(start, **options, checkpoint=checkpoint, progress=crash)
    resumed = solver.run(start, **options, checkpoint=checkpoint, progress=lambda done, _: seen.append(done))
    assert seen[-1] == len(TIMES) and (crash_after == 1 or seen[0] > 1)
    for name in ("u", "v", "energy"):
        assert np.array_equal(getattr(straight, name), getattr(resumed, name)), name
    assert np.array_equal(straight.receivers.v, resumed.receivers.v)
    assert np.array_equal(straight.nodes.u, resumed.nodes.u)
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_checkpoints_are_written_inside_a_leg(tmp_path):
    """One output after some 200 steps: a crash in between must not cost the steps."""
    solver, calls = WaveSolver(MESH, damping=0.5), []

    class Crashing(Checkpoint):
        def write(self, arrays, fingerprint):
            super().write(arrays, fingerprint)
            calls.append(int(arrays["count"]))
            if len(calls) == 3:
                raise Interruption

    checkpoint = Crashing(tmp_path / "run.npz", steps=20)
    with pytest.raises(Interruption):
        solver.run(start, times=[3.0], grid=(5, 5), checkpoint=checkpoint)
    assert calls == [20, 40, 60]
    resumed = solver.run(
        start, times=[3.0], grid=(5, 5), checkpoint=Checkpoint(tmp_path / "run.npz", steps=20)
    )
    assert np.array_equal(resumed.u, solver.run(start, times=[3.0], grid=(5, 5)).u)


@pytest.mark.parametrize(
    "change",
    [{"times": [0.1, 0.3]}, {"grid": (5, 6)}, {"dtype": "float32"}, {"scheme": "leapfrog"}, {"u0": 0.5}],
)
def test_a_checkpoint_of_another_run_is_refused(change, tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.npz", steps=2)
    options = {"u0": start, "times": [0.1, 0.2], "grid": (5, 5), "checkpoint": checkpoint}
    solver = WaveSolver(MESH)
    solver.run(**options)
    with pytest.raises(CheckpointMismatchError, match="was written by a run with other settings"):
        solver.run(**options | change)
    with pytest.raises(CheckpointMismatchError, match="other settings"):
        WaveSolver(MESH, wave_speed=1.1).run(**options)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint", None])
def test_damaged_checkpoints_are_refused(damage, tmp_path):
    path = tmp_path / "run.npz"
    options = {"times": [0.1, 0.2], "grid": (5, 5), "checkpoint": Checkpoint(path, steps=2)}
    WaveSolver(MESH).run(start, **options)
    path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
    with pytest.raises(CheckpointMismatchError, match=r"checkpoint: .*run.npz is not readable .* delete it"):
        WaveSolver(MESH).run(start, **options)


def test_bad_checkpoints_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint: the folder .*none does not exist"):
        Checkpoint(tmp_path / "none" / "run.npz")
    with pytest.raises(ValueError, match="steps: expected a positive number of time steps, got 0"):
        Checkpoint(tmp_path / "run.npz", steps=0)


def test_sizes_beyond_the_memory_are_refused_before_allocation(monkeypatch):
    """With 20 MB left; all of these would otherwise succeed slowly or be killed."""
    solver, space = WaveSolver(MESH), GLLSpace(rectangle(elements=(20, 20)), 2, structured=False)
    monkeypatch.setattr(memory, "available_memory", lambda: 20_000_000)
    with pytest.raises(
        MemoryLimitError, match=r"elements: a mesh of 500 x 500 elements needs about 85\.8 MiB"
    ):
        rectangle(elements=(500, 500))
    mesh = rectangle(elements=(100, 100))
    with pytest.raises(
        MemoryLimitError, match=r"mesh, order: order 8 on 10000 elements .* use fewer elements"
    ):
        GLLSpace(mesh, 8)
    with pytest.raises(
        MemoryLimitError, match=r"times, grid, nodes: the output of 1000000 values at 3 times"
    ):
        solver.run(times=[0.1, 0.2, 0.3], grid=(1000, 1000))
    with pytest.raises(MemoryLimitError, match="times, grid, nodes"):
        solver.run(times=np.linspace(0, 1, 5000), nodes=True)
    monkeypatch.setattr(memory, "available_memory", lambda: 500_000)
    with pytest.raises(MemoryLimitError, match="mesh, order: the operator of 1681 nodes"):
        WaveSolver(space)


def test_an_absurd_mesh_is_refused_on_any_machine():
    with pytest.raises(MemoryLimitError, match="elements: a mesh of 10000000 x 10000000 elements"):
        rectangle(elements=(10_000_000, 10_000_000))


def test_available_memory_is_what_the_machine_or_its_group_leaves(tmp_path):
    assert 2**20 < memory.available_memory() < 2**50
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert memory._free_in_group(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_group(tmp_path) == 2**63


def test_a_solution_says_where_it_came_from():
    solver = WaveSolver(MESH, boundaries="neumann")
    solution = solver.run(start, times=[0.1], dtype="float32")
    told = solution.provenance
    assert told["version"] == __version__ and told["elements"] == 36 and told["dtype"] == "float32"
    assert told["boundaries"] == "'neumann'" and told["spectral_radius"] == solver.spectral_radius
    assert solution.order == 4 and solution.scheme == "lax-wendroff" and solution.u.shape == (1, 0, 0)
    other = WaveSolver(rectangle(1.0, 1.0 + 1e-9, (6, 6))).run(start, times=[0.1]).provenance
    assert other["mesh_sha256"] != told["mesh_sha256"]


def test_receivers_nodes_and_grid_agree():
    """A receiver at a node of mesh and grid hears the same as both; between them, what the grid shows."""
    solver = WaveSolver(MESH, damping=0.5)
    points = [[0.5, 0.5], [0.25, 1 / 3], [1.0, 0.0]]
    solution = solver.run(start, times=[0.0, 0.2, 0.5], grid=(13, 13), receivers=points, nodes=True)
    assert solution.receivers.u[:, :2] == pytest.approx(solution.u[:, [6, 3], [6, 4]], abs=1e-12)
    assert solution.receivers.v[:, :2] == pytest.approx(solution.v[:, [6, 3], [6, 4]], abs=1e-10)
    place = np.argmin(np.hypot(*(solver.space.points - 0.5)))
    assert solution.nodes.u[:, place] == pytest.approx(solution.receivers.u[:, 0], abs=1e-12)
    assert np.all(solution.receivers.u[:, 2] == 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"receivers": [[0.5, 1.5]]}, r"receivers: the point x=0\.5, y=1\.5 lies outside the domain"),
        ({"receivers": [0.5, 0.5]}, r"receivers: expected finite points of shape \(n, 2\), got shape \(2,\)"),
        ({"receivers": [[0.5, np.nan]]}, "receivers: expected finite points"),
        (
            {"sources": [PointSource((0.5, 0.5), Ricker(1.0)), PointSource((2.0, 0.5), Ricker(1.0))]},
            r"sources\[1\]\.position: the point x=2, y=0\.5 lies outside the domain",
        ),
        ({"sources": [PointSource((0.5, np.inf), Ricker(1.0))]}, r"sources\[0\]: expected a finite position"),
        (
            {"sources": [PointSource((0.5, 0.5), lambda _: np.nan)]},
            r"sources\[0\]: expected one finite value",
        ),
        ({"sources": [PointSource((0.5, 0.5), lambda _: np.ones(2))]}, r"sources\[0\]: expected one finite"),
    ],
)
def test_bad_places_and_signals_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(MESH).run(start, times=[0.1], **options)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            lambda x, *_: np.full_like(x, np.nan),
            r"boundaries\['all'\]: expected finite values, got nan at t=",
        ),
        (lambda *_: np.ones(3), r"boundaries\['all'\]: for x and y of shape .* returned shape \(3,\)"),
    ],
)
def test_bad_prescribed_values_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        WaveSolver(MESH, boundaries=Dirichlet(value)).run(times=[0.1])
