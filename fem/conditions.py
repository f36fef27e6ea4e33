"""The conditions on the boundary of one space, sorted by what they do to the equations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slimwave.fem.boundaries import PML, Absorbing, Boundaries, Dirichlet, Neumann
from slimwave.fem.facets import FacetNodes, facet_nodes
from slimwave.fem.forcing import BoundaryFlux, PrescribedValues
from slimwave.fem.gll import Array
from slimwave.fem.pml import Layer
from slimwave.fem.space import GLLSpace


@dataclass(frozen=True, eq=False)
class BoundaryTerms:
    """What acts on the boundary.

    Attributes
    ----------
    prescribed
        Values at the Dirichlet nodes.
    moving
        Whether any of these values is not zero for good.
    fluxes
        Prescribed fluxes that are not zero for good.
    absorbing, backing
        Facets that absorb, and facets behind a matched layer, which absorb too.
    layer
        Where matched layers lie, if there are any.
    """

    prescribed: PrescribedValues
    moving: bool
    fluxes: tuple[BoundaryFlux, ...]
    absorbing: tuple[FacetNodes, ...]
    backing: tuple[FacetNodes, ...]
    layer: Layer | None

    @property
    def held(self) -> NDArray[np.int64]:
        """Nodes with prescribed values."""
        return self.prescribed.nodes


def boundary_terms(space: GLLSpace, boundaries: Boundaries) -> BoundaryTerms:
    """Sort the conditions; errors as `GLLSpace.parts` and `Layer`."""
    parts = space.parts(boundaries)
    rows = {name: facet_nodes(space.basis, facets) for name, _, facets in parts}
    fixed = [(name, condition) for name, condition, _ in parts if isinstance(condition, Dirichlet)]
    driven = [(name, condition) for name, condition, _ in parts if isinstance(condition, Neumann)]
    layers = {name: (condition, facets) for name, condition, facets in parts if isinstance(condition, PML)}
    values = [(name, rows[name].distinct(), condition.value) for name, condition in fixed]
    fluxes = [BoundaryFlux(name, rows[name], c.flux) for name, c in driven if _is_moving(c.flux)]
    return BoundaryTerms(
        prescribed=PrescribedValues(space, values),
        moving=any(_is_moving(condition.value) for _, condition in fixed),
        fluxes=tuple(fluxes),
        absorbing=tuple(rows[name] for name, condition, _ in parts if isinstance(condition, Absorbing)),
        backing=tuple(rows[name] for name in layers),
        layer=Layer(space, layers) if layers else None,
    )


def total_drag(space: GLLSpace, boundary: BoundaryTerms, damping: Array, squared_speed: Array) -> Array:
    """D of `driven` at the nodes, (n_nodes,): damping and absorption, zero where u is prescribed.

    Parameters
    ----------
    damping
        γ at the nodes, shape (n_nodes,).
    squared_speed
        c² at the nodes, shape (n_nodes,), or at the nodes of each element, shape (elements, nodes).
    """
    drag = damping.copy()
    if boundary.absorbing:
        drag += absorption(space, boundary.absorbing, space.by_elements(squared_speed))
    drag[boundary.held] = 0.0
    return drag


def absorption(space: GLLSpace, parts: tuple[FacetNodes, ...], squared_speed: Array) -> Array:
    """Drag of first-order absorption, M⁻¹ ∫ c φ_i ds, at the nodes, shape (n_nodes,).

    Parameters
    ----------
    squared_speed
        c² at the nodes of each element, shape (elements, nodes).
    """
    total = np.zeros(space.n_nodes)
    for part in parts:
        speed = np.sqrt(squared_speed[part.elements[:, None], part.local])
        total += part.integrate(speed, space.n_nodes)
    return total / space.mass


def _is_moving(value: object) -> bool:
    return callable(value) or value != 0.0
