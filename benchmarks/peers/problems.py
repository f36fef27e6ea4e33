"""The problems on which solvers are compared, their reference solutions, and what a solver hands over.

The unit square with walls at zero, a Gaussian pulse of width 0.04 at rest, up to T = 1; 50 snapshots of u on
a 65 × 65 grid. The medium is smooth (that of `fem_accuracy`), or the layers 1.5 | 3 | 1 with interfaces at
y = 1/2 and y = 3/4, where every mesh and grid compared has a line of nodes.

Finite elements solve u_tt = ∇·(c² ∇u). Codes made for seismics solve u_tt = c² Δu instead. Each is compared
with a reference of its own equation, so that no error is blamed on the equation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from fem_accuracy import GRID, TIMES, Array, speed

from slimwave.fem.assembly import stiffness_matrix
from slimwave.fem.materials import Material, PerElement, squared_speed
from slimwave.fem.meshes import rectangle
from slimwave.fem.operators import SparseOperator
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import spectral_bound
from slimwave.fem.stepping import LAX_WENDROFF, Stepper

SNAPSHOTS = len(TIMES)
FASTEST = 3.0
"""Largest speed of both media."""

INTERFACES, LAYERS = (0.5, 0.75), (1.5, 3.0, 1.0)
WIDTH = 0.04


@dataclass(frozen=True)
class Problem:
    """A medium and the centre of the pulse."""

    name: str
    speed: Callable[[Array, Array], Array]
    sharp: bool
    centre: tuple[float, float]

    @property
    def medium(self) -> Material:
        """Wave speed as `WaveSolver` takes it."""
        return PerElement(self.speed) if self.sharp else self.speed

    def pulse(self, x: Array, y: Array) -> Array:
        """Initial u; u_t = 0."""
        x0, y0 = self.centre
        return np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * WIDTH**2))


def interface_mean(problem: Problem, power: int) -> Problem:
    """Give points on an interface the mean of c^power of its two sides; elsewhere c stays as it is.

    Power 2 is right for fluxes along an interface, −2 for u_tt = c² Δu: there 1/c² is a mass. Without the
    mean, finite differences are of first order at interfaces.
    """

    def speed(x: Array, y: Array) -> Array:
        sides = [problem.speed(x, y + shift) ** power for shift in (-1e-9, 1e-9)]
        return (0.5 * (sides[0] + sides[1])) ** (1 / power)

    return replace(problem, speed=speed) if problem.sharp else problem


@dataclass(frozen=True)
class Case:
    """A solver set up for one problem.

    Attributes
    ----------
    label
        Method and resolution.
    unknowns, steps, samples
        Free unknowns of a sample, time steps, and waves that `solve` computes.
    solve
        Everything that a further wave costs: from the initial field to what `snapshots` takes.
    snapshots
        Turns the result of `solve` into u on the grid, shape (50, 65, 65), x first. Not timed.
    seismic
        Whether the equation is u_tt = c² Δu.
    """

    label: str
    unknowns: int
    steps: int
    samples: int
    solve: Callable[[], Any]
    snapshots: Callable[[Any], Array]
    seismic: bool = False


def layered(_: Array, y: Array) -> Array:
    """Three layers with sharp interfaces; a point on an interface belongs to the layer above."""
    return np.select([y < depth for depth in INTERFACES], LAYERS[:-1], LAYERS[-1])


SMOOTH = Problem("smooth", speed, sharp=False, centre=(0.4, 0.4))
SHARP = Problem("sharp layers", layered, sharp=True, centre=(0.4, 0.25))


@cache
def reference(problem: Problem, seismic: bool, elements: int) -> Array:
    """Solution of order 8 in space and 4 in time, shape (50, 65, 65)."""
    if seismic:
        return _seismic_reference(problem, elements)
    solver = WaveSolver(rectangle(elements=(elements, elements)), wave_speed=problem.medium, order=8)
    return solver.run(problem.pulse, times=TIMES, grid=GRID).u


def _seismic_reference(problem: Problem, elements: int) -> Array:
    """u_tt = c² Δu by spectral elements: the mass is weighted by 1/c², the stiffness is that of c = 1.

    M_c ≥ M / c_max² as quadratic forms, so that c_max² λ(M⁻¹K) bounds the spectrum.
    """
    space = GLLSpace(rectangle(elements=(elements, elements)), 8, structured=False)
    ones = np.ones(space.n_nodes)
    c2 = squared_speed(space, problem.medium, None)
    mass, held = np.zeros(space.n_nodes), space.dirichlet_nodes("dirichlet")
    np.add.at(mass, space.basis.element_dofs.T, space.basis.dx / space.by_elements(c2))
    stiffness = stiffness_matrix(space.basis, space.by_elements(ones))
    inverse_mass = 1.0 / mass
    inverse_mass[held] = 0.0
    matrix = sp.diags(inverse_mass) @ stiffness
    matrix.eliminate_zeros()
    operator = SparseOperator(matrix.tocsr(), mass)
    steps = steps_per_snapshot(LAX_WENDROFF.largest_step(FASTEST**2 * spectral_bound(space, ones)))
    u = problem.pulse(*space.points)
    u[held] = 0.0
    stepper = Stepper(operator, LAX_WENDROFF, u, 0.0 * u, TIMES[0] / steps)
    sampler, found = space.sampler(*GRID), np.empty((SNAPSHOTS, *GRID))
    for number in range(SNAPSHOTS):
        stepper.advance(steps)
        found[number] = sampler.sample(stepper.u)
    return found


def steps_per_snapshot(largest: float) -> int:
    """Fewest steps of at most the given length between two snapshots."""
    return int(np.ceil(TIMES[0] / largest))
