"""A batch of waves under way, by the compiled loops; `torch_waves` is the other way."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.drives import Drive
from slimwave.fem.gll import Array
from slimwave.fem.marching import March, march_of
from slimwave.fem.operators import TensorOperator
from slimwave.fem.plans import Plan
from slimwave.fem.recording import Quantity, needs_velocities
from slimwave.fem.sampling import Sampler
from slimwave.fem.stepping import Scheme

Found = dict[Quantity, NDArray[Any]]
"""u and v, shape (batch, n, nx, ny), and the energies (batch, n); n = 0 for what is not wanted."""

Progress = Callable[[int, int], None]


class Waves(Protocol):
    """A batch of waves under way.

    Attributes
    ----------
    time_steps, step_counts
        Largest step and number of steps of each wave, shape (batch,), once it has been run.
    """

    time_steps: Array
    step_counts: NDArray[np.int64]

    def run(self, record: Sequence[Quantity], found: Found, progress: Progress) -> None:
        """Go to the last output time and write what is recorded into `found`.

        `progress` is told the number of snapshots done and the number of all, those of every wave.
        """


class CompiledWaves:
    """Waves by the compiled loops, on one core, one after the other; see `Waves`."""

    def __init__(
        self,
        operator: TensorOperator,
        sampler: Sampler,
        scheme: Scheme,
        drives: Sequence[Drive],
        u: Array,
        v: Array,
        plan: Plan,
    ):
        self._operator, self._sampler, self._scheme = operator, sampler, scheme
        self._drives, self._start, self._plan = drives, (u, v), plan
        self.time_steps, self.step_counts = np.zeros(len(u)), np.zeros(len(u), np.int64)

    def run(self, record: Sequence[Quantity], found: Found, progress: Progress) -> None:
        """See `Waves`."""
        length, total = len(self._drives), len(self._plan.times)
        for number in range(length):
            own, march = self._march(number, velocities=needs_velocities(record))
            self.time_steps[number], self.step_counts[number] = march.time_step, march.n_steps
            while march.reached < total:
                _, arrived = march.advance()
                outputs = slice(march.reached - arrived, march.reached)
                if "u" in record:
                    self._sampler.sample(march.u, found["u"][number, outputs])
                if "v" in record:
                    self._sampler.sample(march.v, found["v"][number, outputs])
                if "energy" in record:
                    found["energy"][number, outputs] = own.energies(march.u, march.v)
                progress(number * total + march.reached, length * total)

    def _march(self, number: int, *, velocities: bool) -> tuple[TensorOperator, March]:
        """Operator and march of one wave."""
        own, drive = self._operator.part(number), self._drives[number]
        u, v = (own.state(fields[number]) for fields in self._start)
        return own, march_of(own, self._scheme, drive, u, v, self._plan, velocities=velocities)
