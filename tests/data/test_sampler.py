"""The order of the windows: every window once, the same for the same seed, resumed exactly where it stood."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from slimwave.data.sampler import ResumableSampler
from slimwave.data.symmetries import RandomSymmetry
from slimwave.data.windows import WaveWindows


def ranks(length: int, world_size: int, **options: int) -> list[ResumableSampler]:
    return [
        ResumableSampler(length, rank=rank, world_size=world_size, **options) for rank in range(world_size)
    ]


@given(length=st.integers(1, 50), world_size=st.integers(1, 7), seed=st.integers(0, 2**40))
def test_every_window_once_over_all_processes(length: int, world_size: int, seed: int) -> None:
    """And the first few twice, so that every process has equally many."""
    parts = [list(sampler) for sampler in ranks(length, world_size, seed=seed)]
    assert {len(part) for part in parts} == {-(-length // world_size)}
    counts = Counter(index for part in parts for index in part)
    assert set(counts) == set(range(length))
    assert sum(counts.values()) < length + world_size


@pytest.mark.parametrize("rank", range(3))
def test_unshuffled_order_is_that_of_torch(rank: int) -> None:
    ours = ResumableSampler(11, shuffle=False, rank=rank, world_size=3)
    theirs = DistributedSampler(range(11), num_replicas=3, rank=rank, shuffle=False)  # type: ignore[arg-type]
    assert list(ours) == list(theirs)
    assert len(ours) == len(theirs)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = ResumableSampler(100, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@given(
    length=st.integers(1, 40),
    world_size=st.integers(1, 4),
    taken=st.lists(st.integers(0, 12), max_size=8),
)
def test_resumed_order_is_the_undisturbed_one(length: int, world_size: int, taken: list[int]) -> None:
    """Stop after any number of windows, any number of times, also across epochs."""
    undisturbed, resumed = ranks(length, world_size), ranks(length, world_size)
    for count in taken:
        for rank in range(world_size):
            here = undisturbed[rank]
            again = ResumableSampler(length, rank=rank, world_size=world_size)
            again.load_state_dict(json.loads(json.dumps(resumed[rank].state_dict())))
            resumed[rank] = again
            step = min(count, len(here))
            assert list(here)[:step] == list(again)[:step]
            here.consume(step)
            again.consume(step)
            assert here.state_dict() == again.state_dict() == undisturbed[0].state_dict()


def test_taken_up_by_another_number_of_processes() -> None:
    """Four processes leave off after 3 windows each; two go on: together every window once."""
    four = ranks(20, 4, seed=1)
    seen = [index for sampler in four for index in list(sampler)[:3]]
    for sampler in four:
        sampler.consume(3)
    two = ranks(20, 2, seed=1)
    for sampler in two:
        sampler.load_state_dict(four[0].state_dict())
        seen += list(sampler)
    assert sorted(seen) == list(range(20))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_training_resumed_in_mid_epoch(pristine: Path, workers: int) -> None:
    """Workers have read ahead when the run stops; what they read is not lost, nor are its symmetries."""
    symmetry = RandomSymmetry(3, square_cells=False)
    windows = WaveWindows(pristine, "train", normalise="std", transform=symmetry)
    options = {
        "batch_size": 6,
        "num_workers": workers,
        "multiprocessing_context": "fork" if workers else None,
    }

    def epoch(sampler: ResumableSampler, stop: int | None = None) -> list[torch.Tensor]:
        batches = []
        symmetry.set_epoch(sampler.epoch)
        for batch in DataLoader(windows, sampler=sampler, **options):  # type: ignore[arg-type]
            batches.append(batch["state"])
            sampler.consume(len(batch["state"]))
            if len(batches) == stop:
                break
        return batches

    sampler = ResumableSampler(len(windows), seed=4)
    whole = epoch(sampler) + epoch(sampler)
    first = ResumableSampler(len(windows), seed=4)
    part = epoch(first, stop=2)
    second = ResumableSampler(len(windows), seed=4)
    second.load_state_dict(first.state_dict())
    part += epoch(second)
    assert second.epoch == 1
    part += epoch(second)
    assert len(part) == len(whole)
    assert all(map(torch.equal, part, whole))


SHARE = """
import json, sys
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from slimwave.data.sampler import ResumableSampler
from slimwave.data.windows import WaveWindows

root, rank = sys.argv[1], int(sys.argv[2])
windows = WaveWindows(root, "train", transform=lambda window, index: {**window, "index": torch.tensor(index)})
samplers = [
    DistributedSampler(windows, num_replicas=2, rank=rank, seed=5),
    ResumableSampler(len(windows), seed=5, rank=rank, world_size=2),
]
loaders = [DataLoader(windows, batch_size=3, sampler=sampler) for sampler in samplers]
print(json.dumps([[i for batch in loader for i in batch["index"].tolist()] for loader in loaders]))
"""


def test_two_processes_share_an_epoch(pristine: Path) -> None:
    """By torch's sampler and by ours, in processes of their own: every window exactly once."""
    commands = [[sys.executable, "-c", SHARE, str(pristine), rank] for rank in "01"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    shares = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    for parts in zip(*shares, strict=True):
        assert [len(part) for part in parts] == [20, 20]
        assert sorted(index for part in parts for index in part) == list(range(40))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="length and seed: expected at least 1 and 0, got 0 and 0"):
        ResumableSampler(0)
    with pytest.raises(ValueError, match="rank: expected 0 <= rank < world_size = 2, got 2"):
        ResumableSampler(5, rank=2, world_size=2)
    sampler = ResumableSampler(5)
    with pytest.raises(ValueError, match=r"windows: expected 0 to 5, all that is left of the epoch, got 6"):
        sampler.consume(6)
    state = sampler.state_dict()
    with pytest.raises(
        ValueError, match="length: the saved order has 6, this one 5; use the dataset and the"
    ):
        sampler.load_state_dict({**state, "length": 6})
    with pytest.raises(ValueError, match="epoch and position: expected a place in the order, got 0 and 5"):
        sampler.load_state_dict({**state, "position": 5})
    with pytest.raises(ValueError, match="length: the saved order has None"):
        sampler.load_state_dict({})
