"""What the networks have in common whose waves are limited by their time stepping: leapfrog and macro_step.

They learn a force and step by shears (:mod:`slimwave.surrogates.shears`), which is stable while dt² λ_max(F)
stays below a limit. The largest wave speed that they can follow grows with their number of substeps, and a
network with too few for the waves of its task is refused when it is built.
"""

import math
from typing import Generic, TypeVar

from slimwave.surrogates.network_shapes import SteppedShape
from slimwave.surrogates.surrogate import Surrogate

Shape = TypeVar("Shape", bound=SteppedShape)


class SteppedSurrogate(Surrogate, Generic[Shape]):
    """A surrogate that fills one more hook, ``substeps_per_speed``, and whose shape counts substeps."""

    shape: Shape

    @property
    def substeps_per_speed(self) -> float:
        """Substeps in a macro step for a wave of speed 1, on this grid."""
        raise NotImplementedError

    @property
    def max_wave_speed(self) -> float:
        """Largest wave speed whose force ``encode`` need not scale down, for a fresh network."""
        return max(self.task.max_speed, self.shape.substeps / self.substeps_per_speed)

    def speed_remedy(self, max_speed: float) -> str:
        """Say with how many substeps the network would follow waves of a speed."""
        return f"use --network.substeps {self._substeps_for(max_speed)}"

    def require_substeps(self) -> None:
        """Refuse a macro step that the fastest wave of the task would have to be slowed down for.

        Raises
        ------
        ValueError
            Naming the number of substeps that would do.
        """
        task, shape = self.task, self.shape
        needed = self._substeps_for(task.max_speed)
        if shape.substeps < needed:
            raise ValueError(
                f"--network.substeps {shape.substeps}: a wave of speed {task.max_speed:g} needs at least "
                f"{needed} substeps of order {shape.time_order} in a macro step of {task.macro_step:g} on "
                f"this grid; {self.speed_remedy(task.max_speed)}"
            )

    def _substeps_for(self, speed: float) -> int:
        return math.ceil(speed * self.substeps_per_speed)
