"""Mass and stiffness against scikit-fem's own; the two storages of the operator; the spectral bound."""

import numpy as np
import pytest
from scipy.sparse.linalg import eigsh
from skfem import BilinearForm, MeshQuad, MeshQuad2
from skfem.helpers import dot, grad
from skfem.models.poisson import laplace, mass

from slimwave.fem.assembly import mass_diagonal, stiffness_matrix
from slimwave.fem.elements import gll_basis
from slimwave.fem.meshes import rectangle
from slimwave.fem.operators import SparseOperator, TensorOperator, build_operator
from slimwave.fem.space import GLLSpace
from slimwave.fem.spectra import spectral_bound


def distort(mesh, amount=0.08):
    """Move the nodes of a mesh of the unit square smoothly, the walls onto themselves."""
    x, y = mesh.doflocs
    shift = amount * np.sin(np.pi * x) * np.sin(np.pi * y) * np.array([np.cos(3 * y), np.sin(2 * x + 1)])
    return type(mesh)(mesh.doflocs + shift, mesh.t)


def turn(mesh, seed=0):
    """Start the vertex list of each element at a random corner."""
    turns = np.random.default_rng(seed).integers(0, 4, mesh.t.shape[1])
    corners = (np.arange(4)[:, None] + turns) % 4
    return MeshQuad(mesh.p, np.take_along_axis(mesh.t, corners, axis=0))


PLAIN = rectangle(elements=(3, 4))
MESHES = [
    pytest.param(PLAIN, id="rectangle"),
    pytest.param(turn(PLAIN), id="turned"),
    pytest.param(distort(PLAIN), id="skewed"),
    pytest.param(distort(PLAIN, 1e-4), id="barely-skewed"),
    pytest.param(distort(MeshQuad2.from_mesh(PLAIN)), id="curved"),
]


def speed2(x, y):
    return 1.0 + 0.5 * x + y**2


@pytest.mark.parametrize("order", [1, 2, 4, 5])
@pytest.mark.parametrize("mesh", MESHES)
def test_mass_is_diagonal_and_equals_scikit_fem(mesh, order):
    basis = gll_basis(mesh, order)
    assembled = mass.assemble(basis)
    diagonal = mass_diagonal(basis)
    assert np.abs(assembled - np.diag(diagonal)).max() <= 1e-14 * diagonal.max()


@pytest.mark.parametrize("mesh", MESHES)
def test_mass_sums_to_the_area(mesh):
    assert mass_diagonal(gll_basis(mesh, 2)).sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("order", [1, 3, 4])
@pytest.mark.parametrize("mesh", MESHES)
def test_stiffness_equals_scikit_fem_with_the_same_quadrature(mesh, order):
    basis = gll_basis(mesh, order)
    ours = stiffness_matrix(basis, np.ones_like(basis.dx))
    theirs = laplace.assemble(basis)
    assert abs(ours - theirs).max() <= 1e-13 * abs(theirs).max()


def test_stiffness_of_a_heterogeneous_medium_equals_scikit_fem():
    @BilinearForm
    def form(u, v, w):
        return speed2(*w.x) * dot(grad(u), grad(v))

    basis = gll_basis(distort(rectangle(elements=(3, 4))), 4)
    ours = stiffness_matrix(basis, speed2(*np.asarray(basis.global_coordinates())))
    theirs = form.assemble(basis)
    assert abs(ours - theirs).max() <= 1e-13 * abs(theirs).max()


def test_upright_elements_have_no_cross_terms():
    """On upright rectangles a node is coupled to its grid lines only: below 11 entries per row at p = 4."""
    basis = gll_basis(rectangle(elements=(12, 12)), 4)
    stiffness = stiffness_matrix(basis, np.ones_like(basis.dx))
    assert stiffness.nnz / basis.N < 11


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_stencil_and_sparse_rows_give_the_same_operator(order, dtype):
    """On a graded, turned, non-square mesh with one Neumann side, for a random field."""
    x, y = np.array([0.0, 0.3, 0.5, 1.0, 1.7]), np.array([0.0, 0.2, 0.6])
    sides = {
        "left": lambda p: p[0] == 0,
        "right": lambda p: p[0] == 1.7,
        "bottom": lambda p: p[1] == 0,
        "top": lambda p: p[1] == 0.6,
    }
    mesh = turn(MeshQuad.init_tensor(x, y)).with_boundaries(sides)
    boundaries = {"left": "dirichlet", "right": "neumann", "bottom": "dirichlet", "top": "neumann"}
    spaces = [GLLSpace(mesh, order, structured=structured) for structured in (True, False)]
    held = spaces[0].dirichlet_nodes(boundaries)
    field = np.random.default_rng(1).standard_normal(spaces[0].n_nodes)
    field[held] = 0.0
    operators = [build_operator(space, speed2(*space.points), held, dtype) for space in spaces]
    assert [type(operator) for operator in operators] == [TensorOperator, SparseOperator]
    stencil, sparse = (operator.nodal(operator.apply(operator.state(field))) for operator in operators)
    assert np.abs(stencil - sparse).max() <= 50 * np.finfo(dtype).eps * np.abs(sparse).max()
    assert np.all(stencil[held] == 0.0)


def test_operator_is_symmetric_in_the_mass_product():
    space = GLLSpace(rectangle(width=2.0, elements=(4, 3)), 4)
    operator = build_operator(space, speed2(*space.points), space.dirichlet_nodes("dirichlet"))
    rng = np.random.default_rng(0)
    left, right = (operator.state(rng.standard_normal(space.n_nodes)) for _ in range(2))
    for state in (left, right):
        state[operator.apply(np.ones_like(state)) == 0.0] = 0.0
    forth, back = operator.inner(left, operator.apply(right)), operator.inner(operator.apply(left), right)
    assert forth == pytest.approx(back, rel=1e-12)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("structured", [True, False])
@pytest.mark.parametrize("boundaries", ["dirichlet", "neumann"])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_spectral_bound_is_safe(mesh, structured, boundaries, order):
    """On coarse meshes with a contrast of 4 in c², the bound is not below the largest eigenvalue."""
    space = GLLSpace(mesh, order, structured=structured)
    squared_speed = 1.0 + 3.0 * np.exp(-20 * np.sum((space.points - 0.4) ** 2, axis=0))
    exact = largest_eigenvalue(space, squared_speed, boundaries)
    assert spectral_bound(space, squared_speed) >= exact


@pytest.mark.parametrize("structured", [True, False])
def test_spectral_bound_is_sharp_on_a_mesh_that_resolves_the_medium(structured):
    """Ten percent in the eigenvalue are five in the step."""
    space = GLLSpace(rectangle(elements=(8, 8)), 4, structured=structured)
    squared_speed = 1.0 + 3.0 * np.exp(-20 * np.sum((space.points - 0.4) ** 2, axis=0))
    assert spectral_bound(space, squared_speed) <= 1.1 * largest_eigenvalue(space, squared_speed, "dirichlet")


def largest_eigenvalue(space, squared_speed, boundaries):
    """Of M^-½ K M^-½ on the free nodes, to machine accuracy."""
    free = np.setdiff1d(np.arange(space.n_nodes), space.dirichlet_nodes(boundaries))
    stiffness = stiffness_matrix(space.basis, squared_speed[space.basis.element_dofs].T)
    scale = 1.0 / np.sqrt(space.mass)
    symmetric = stiffness.multiply(scale[:, None]).multiply(scale).tocsr()[free][:, free]
    return eigsh(symmetric, k=1, which="LA", return_eigenvectors=False)[0]
