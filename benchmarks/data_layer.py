"""The data layer: loading beside The Well's own package, generation, and memory, measured in one run.

Loading: processor time per sample of `WaveWindows`, files read lazily, and of `WellDataset`, for tensors that
are compared to be equal; and the share of wall time that a training loop of the demo's network waits for two
worker processes. Generation: share of the processor time that goes into the solver, and into building shards
and writing them; trajectories per second, in steady state, of two processes relative to one. Memory: peak of
a process that generates, checks and reads a dataset, and the peak for four times as many trajectories.

    python benchmarks/data_layer.py            # the default dataset's grid, 64 x 64
    python benchmarks/data_layer.py --quick    # smaller, fewer repetitions
    python benchmarks/data_layer.py --json     # one JSON object on standard output

Rates of two processes and waiting times mean something only while two cores are free: the load is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from shared.targets import verdict
from the_well.data import WellDataset
from torch.utils.data import DataLoader

from slimwave.data import generation
from slimwave.data.generation import generate
from slimwave.data.scenarios import DomainConfig, GenerateConfig, SolverConfig, SplitConfig, SplitsConfig
from slimwave.data.windows import WaveWindows
from slimwave.surrogates.network_settings import NetworkConfig
from slimwave.surrogates.networks import build_network
from slimwave.surrogates.task import WaveTask

HORIZON = 4


@dataclass(frozen=True)
class Row:
    """One figure, and the limit it is held against, if any; `at_most` says on which side the limit lies."""

    what: str
    value: float
    unit: str
    limit: float | None = None
    at_most: bool = True

    @property
    def judgement(self) -> str:
        """The limit, and whether the figure keeps to it."""
        if self.limit is None:
            return ""
        met = self.value <= self.limit if self.at_most else self.value >= self.limit
        return f"{'<=' if self.at_most else '>='} {self.limit:g}: {verdict(met)}"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    nodes: int
    elements: int
    trajectories: int
    samples: int
    repeats: int
    steps: int


FULL = Size(nodes=64, elements=24, trajectories=48, samples=200, repeats=5, steps=60)
QUICK = Size(nodes=32, elements=10, trajectories=12, samples=40, repeats=3, steps=20)


def config_of(size: Size, output: Path, trajectories: int) -> GenerateConfig:
    """Return a dataset whose training split holds nearly everything."""
    split = SplitConfig(trajectories=2, snapshots=21)
    train = SplitConfig(trajectories=trajectories, snapshots=61)
    return GenerateConfig(
        output=output,
        domain=DomainConfig(nx=size.nodes, ny=size.nodes),
        solver=SolverConfig(elements=(size.elements, size.elements)),
        splits=SplitsConfig(train=train, valid=split, test=split, ood=split),
    )


def cpu_ms(call: Callable[[int], object], size: Size, length: int) -> float:
    """Return the median processor time of one call in milliseconds, over evenly spread arguments."""
    chosen = [i * length // size.samples for i in range(size.samples)]
    times = []
    for _ in range(size.repeats + 1):
        started = time.process_time()
        for index in chosen:
            call(index)
        times.append(1e3 * (time.process_time() - started) / size.samples)
    return statistics.median(times[1:])  # the first pass opens the files


def loading(root: Path, size: Size) -> Iterator[Row]:
    """Compare the loaders."""
    ours = WaveWindows(root, "train", horizon=HORIZON)
    theirs = WellDataset(path=str(root), well_split_name="train", n_steps_output=HORIZON)
    for index in (0, len(ours) // 2, len(ours) - 1):
        window, sample = ours[index], theirs[index]
        assert torch.equal(sample["output_fields"].permute(0, 3, 1, 2), window["targets"])
        assert torch.equal(sample["constant_fields"].permute(2, 0, 1), window["wave_speed"])
    our_time, their_time = (cpu_ms(data.__getitem__, size, len(ours)) for data in (ours, theirs))
    yield Row(f"WaveWindows, {HORIZON} targets, CPU per sample", our_time, "ms")
    yield Row("WellDataset, equal tensors, CPU per sample", their_time, "ms")
    yield Row("WellDataset / WaveWindows", their_time / our_time, "x", 10, at_most=False)


def waiting(root: Path, size: Size) -> Row:
    """Train the demo's one-way network on batches from two worker processes."""
    windows = WaveWindows(root, "train")
    network = NetworkConfig(width=24, depth=4, conv="cp", rank=16)
    model = build_network(network, WaveTask.of_windows(windows))
    optimizer = torch.optim.AdamW(model.parameters())
    loader = DataLoader(windows, batch_size=8, shuffle=True, num_workers=2, multiprocessing_context="spawn")
    batches, waited = iter(loader), 0.0
    next(batches)  # the workers start
    started = time.perf_counter()
    for _ in range(size.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        optimizer.zero_grad()
        forecast = model(batch["state"], batch["wave_speed"], batch["walls"])
        (forecast - batch["targets"][:, 0]).square().mean().backward()
        optimizer.step()
    share = 100 * waited / (time.perf_counter() - started)
    return Row("training loop waiting for 2 workers", share, "%", 5)


@contextmanager
def clocked(name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the processor time of a function of `slimwave.data.generation`."""
    function = getattr(generation, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - started

    with mock.patch.object(generation, name, timed):
        yield


def generating(folder: Path, size: Size) -> Iterator[Row]:
    """Split the processor time of a generation in one process."""
    generate(config_of(size, folder / "warm", 2))  # kernels are compiled, the mesh is set up
    spent: dict[str, float] = {}
    parts = ("solve_scenarios", "draw_scenario", "shard_image", "write_pieces", "moments_of")
    started = time.process_time()
    with ExitStack() as clocks:
        for name in parts:
            clocks.enter_context(clocked(name, spent))
        generate(config_of(size, folder / "one", size.trajectories))
    total = time.process_time() - started
    yield Row("generation, CPU per trajectory", 1e3 * total / (size.trajectories + 6), "ms")
    solving = 100 * spent["solve_scenarios"] / total
    yield Row("solver (set-up, kernels, sampling)", solving, "%", 85, at_most=False)
    yield Row("drawing scenarios", 100 * spent["draw_scenario"] / total, "%")
    yield Row("building shards in memory", 100 * spent["shard_image"] / total, "%")
    yield Row("writing", 100 * spent["write_pieces"] / total, "%", 5)
    yield Row("statistics", 100 * spent["moments_of"] / total, "%")


def steady_rate(folder: Path, size: Size, workers: int) -> tuple[float, float]:
    """Return trajectories per second of wall time, from the times of the files, without the start.

    And the solver's processor time per trajectory, which grows where processes disturb each other.
    """
    config = replace(config_of(size, folder, 4 * size.trajectories), workers=workers)
    summary = generate(config)
    written = sorted(path.stat().st_mtime for path in folder.rglob("wave2d_train_*.hdf5"))
    first = 2 * workers
    rate = config.trajectories_per_shard * (len(written) - 1 - first) / (written[-1] - written[first])
    return rate, 1e3 * summary.cpu_seconds / summary.trajectories


def two_processes(folder: Path, size: Size) -> Iterator[Row]:
    """Compare rates."""
    (one, cpu_one), (two, cpu_two) = (
        steady_rate(folder / f"rate{workers}", size, workers) for workers in (1, 2)
    )
    yield Row("1 process", one, "trajectories/s")
    yield Row("2 processes", two, "trajectories/s")
    yield Row("2 processes / 1 process", two / one, "x", 1.8, at_most=False)
    yield Row("solver's CPU per trajectory, 2 processes / 1 process", cpu_two / cpu_one, "x")


MEMORY = """
import resource, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from data_layer import FULL, QUICK, config_of
from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate
from slimwave.data.windows import WaveWindows

root = Path(sys.argv[2])
generate(config_of(QUICK if sys.argv[4] == "quick" else FULL, root, int(sys.argv[3])))
assert check_dataset(root).ok
for window in WaveWindows(root, "train", horizon=4, every=4):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory(folder: Path, size: Size) -> Iterator[Row]:
    """Compare the peaks of two processes, one with four times the data of the other."""
    peaks = []
    for factor in (1, 4):
        arguments = [
            folder / f"memory{factor}",
            factor * size.trajectories,
            "quick" if size == QUICK else "full",
        ]
        command = [sys.executable, "-c", MEMORY, Path(__file__).parent, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    yield Row(f"peak memory, {size.trajectories} trajectories", peaks[0], "MiB", 1000)
    yield Row(f"peak memory, {4 * size.trajectories} trajectories", peaks[1], "MiB", 1000)
    yield Row("growth with four times the data", peaks[1] / peaks[0], "x", 1.1)


def measure(size: Size, folder: Path) -> list[Row]:
    """Measure everything in one folder."""
    rows = list(generating(folder, size))
    rows += loading(folder / "one", size)
    rows.append(waiting(folder / "one", size))
    rows += two_processes(folder, size)
    rows += memory(folder, size)
    rows.append(Row("load of the machine", os.getloadavg()[0], f"of {os.cpu_count()} cores"))
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| what | measured | target |", "|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {row.what} | {row.value:.3g} {row.unit} | {row.judgement} |" for row in rows)]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller grid, fewer repetitions")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(QUICK if arguments.quick else FULL, Path(folder))
    if arguments.json:
        json.dump({"rows": [asdict(row) | {"judgement": row.judgement} for row in rows]}, sys.stdout)
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
