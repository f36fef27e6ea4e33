"""The data layer: loading beside The Well's own package, generation, and memory, measured in one run.

Loading: processor time per sample of `WaveWindows`, files read lazily, and of `WellDataset`, for tensors that
are compared to be equal; and the share of wall time that a training loop of the demo's network waits for two
worker processes. Generation: where the processor time goes, the start and end of the run included; the pace
of two processes in steady state relative to one, with what the system says they did meanwhile; what a process
costs before it begins. Memory: the peaks of one process that generates, checks and reads a dataset and then
one of four times the size.

    python benchmarks/data_layer.py            # the default dataset's grid, 64 x 64
    python benchmarks/data_layer.py --quick    # smaller, fewer repetitions: shows that all runs, not how fast
    python benchmarks/data_layer.py --json     # one JSON object on standard output

The solver's share says as much about the solver as about the rest: the faster it is, the smaller its share.
Linux only: the times of processes and the peaks are read from /proc.
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
from typing import Any, NamedTuple
from unittest import mock

from shared.data_sizes import SIZES, Size, config_of
from shared.processes import Shares, Watch
from shared.targets import verdict

from slimwave.data import generation, solving
from slimwave.data.generation import generate
from slimwave.data.run_folders import RunFolder

HORIZON = 4
BUSY = 0.05
"""Share of time waiting for a core from which on the paces of processes are not compared."""


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
    import torch  # here, because every process that generates imports this file too
    from the_well.data import WellDataset

    from slimwave.data.windows import WaveWindows

    torch.set_num_threads(1)
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
    import torch
    from torch.utils.data import DataLoader

    from slimwave.data.windows import WaveWindows
    from slimwave.surrogates.network_settings import NetworkConfig
    from slimwave.surrogates.networks import build_network
    from slimwave.surrogates.task import WaveTask

    torch.set_num_threads(1)
    windows = WaveWindows(root, "train")
    network = NetworkConfig(width=24, depth=4, conv="cp", rank=16)
    model = build_network(network, WaveTask.of_windows(windows))
    optimizer = torch.optim.AdamW(model.parameters())
    loader = DataLoader(windows, batch_size=8, shuffle=True, num_workers=2, multiprocessing_context="fork")
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
def clocked(home: Any, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add up the processor time of a function or method."""
    function = getattr(home, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - started

    with mock.patch.object(home, name, timed):
        yield


PARTS = {
    "solve_scenarios": "solver: set-up, stepping, sampling",
    "draw_scenario": "drawing scenarios",
    "shard_image": "HDF5 around the fields",
    "sha256_of_pieces": "SHA-256",
    "moments_of": "statistics",
    "write_pieces": "writing",
}
"""What generation calls, and what that does."""


def generating(folder: Path, size: Size) -> Iterator[Row]:
    """Split the processor time of a generation in one process; its start and end are part of the whole."""
    generate(config_of(size, folder / "warm", 2))  # kernels are compiled, the mesh is set up
    spent: dict[str, float] = {}
    started = time.process_time()
    with ExitStack() as clocks:
        clocks.enter_context(clocked(solving.WaveBatch, "run", spent))
        clocks.enter_context(clocked(solving, "solve_scenarios", spent))
        for name in PARTS.keys() - {"solve_scenarios"}:
            clocks.enter_context(clocked(generation, name, spent))
        generate(config_of(size, folder / "one", size.trajectories))
    total, count = time.process_time() - started, size.trajectories + 6
    yield Row("generation, CPU per trajectory", 1e3 * total / count, "ms")
    for name, what in PARTS.items():
        yield Row(f"  {what}", 1e3 * spent[name] / count, "ms")
    yield Row("  all else", 1e3 * (total - sum(spent[name] for name in PARTS)) / count, "ms")
    yield Row("share of the solver", 100 * spent["solve_scenarios"] / total, "%", 85, at_most=False)
    yield Row("share of its stepping and sampling alone", 100 * spent["run"] / total, "%")
    yield Row("share of writing", 100 * spent["write_pieces"] / total, "%", 5)


class Pace(NamedTuple):
    """How some processes generate in steady state, between their first shards and the last one.

    Attributes
    ----------
    rate
        Trajectories per second of wall time.
    solver
        The solver's processor time per trajectory in milliseconds, median of the shards; it grows where
        processes disturb each other.
    shares
        What the processes did.
    """

    rate: float
    solver: float
    shares: Shares


def pace_of(folder: Path, size: Size, shard: int, workers: int) -> Pace:
    """Generate, and take the pace from the times of the files: what starts the processes is left out."""
    config = config_of(size, folder, size.paced)
    config = replace(config, workers=workers, trajectories_per_shard=shard)
    offset = time.time() - time.perf_counter()
    with Watch(children=workers > 1) as watch:
        generate(config)
    written = sorted(path.stat().st_mtime for path in folder.rglob("wave2d_train_*.hdf5"))
    first = 2 * workers
    rate = config.trajectories_per_shard * (len(written) - 1 - first) / (written[-1] - written[first])
    shares = watch.shares(written[first] - offset, written[-1] - offset)
    shards = RunFolder.open(folder).records()
    solver = statistics.median(one["cpu_seconds"] / one["trajectories"] for one in shards)
    return Pace(rate, 1e3 * solver, shares)


def two_processes(folder: Path, size: Size, shard: int) -> Iterator[Row]:
    """Compare the pace of two processes with that of one, where there were cores for them."""
    one, two = (pace_of(folder / f"pace{shard}_{workers}", size, shard, workers) for workers in (1, 2))
    per_shard = f"shards of {shard}"
    for name, pace in ((f"{per_shard}: 1 process", one), (f"{per_shard}: 2 processes", two)):
        yield Row(name, pace.rate, "trajectories/s")
        yield Row(f"  {name}: waiting for a core", 100 * pace.shares.waiting, "% of the time")
        yield Row(f"  {name}: asleep, on disk or idle", 100 * pace.shares.asleep, "% of the time")
    yield Row(f"{per_shard}: 2 processes / 1, solver's CPU per trajectory", two.solver / one.solver, "x")
    ratio = two.rate / one.rate
    if max(one.shares.waiting, two.shares.waiting) > BUSY:
        yield Row(f"{per_shard}: 2 processes / 1; cores busy, not judged", ratio, "x")
    else:
        yield Row(f"{per_shard}: 2 processes / 1", ratio, "x", 1.8, at_most=False)


FRESH = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from shared.data_sizes import SIZES, config_of
from shared.processes import peak_mib, reset_peak
from slimwave.data.checking import check_dataset
from slimwave.data.generation import generate

root, size = Path(sys.argv[2]), SIZES[sys.argv[3]]
counts = size.trajectories, 4 * size.trajectories
found = {"generating": [], "checking": [], "reading": []}
generate(config_of(size, root / "first", 2))
first = time.process_time()
generate(config_of(size, root / "second", 2))
start = 2 * first - time.process_time()

def peak_of(what, action):
    reset_peak()
    action()
    found[what].append(peak_mib())

for count in counts:
    peak_of("generating", lambda: generate(config_of(size, root / str(count), count)))
for count in counts:
    peak_of("checking", lambda: check_dataset(root / str(count)))

from slimwave.data.windows import WaveWindows

for count in counts:
    peak_of("reading", lambda: [None for _ in WaveWindows(root / str(count), "train", horizon=4, every=4)])
print(json.dumps({"start": start, "peaks": found}))
"""


def fresh_process(folder: Path, size: Size) -> Iterator[Row]:
    """What a new process costs before it generates, and the peaks of its memory with four times the data."""
    command = [sys.executable, "-c", FRESH, Path(__file__).parent, folder / "fresh", size.name]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    yield Row("start of a process, imports and loading of compiled code, CPU", found["start"], "s")
    for what, (one, four) in found["peaks"].items():
        yield Row(f"peak memory {what} {size.trajectories} trajectories", one, "MiB", 1000)
        yield Row(f"peak memory {what} {4 * size.trajectories} trajectories", four, "MiB", 1000)
        yield Row(f"  growth, {what} four times the data", four / one, "x", 1.1)


def measure(size: Size, folder: Path) -> list[Row]:
    """Measure everything in one folder."""
    rows = list(generating(folder, size))
    rows += loading(folder / "one", size)
    rows.append(waiting(folder / "one", size))
    for shard in size.shards:
        rows += two_processes(folder, size, shard)
    rows += fresh_process(folder, size)
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
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(SIZES["quick" if arguments.quick else "full"], Path(folder))
    if arguments.json:
        json.dump({"rows": [asdict(row) | {"judgement": row.judgement} for row in rows]}, sys.stdout)
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
