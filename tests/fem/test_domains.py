"""Domains: their shape, their names, waves on them against exact ones; files; and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import j0, jn_zeros
from skfem import MeshQuad, MeshTri, MeshTri2

from slimwave.fem.facets import facet_nodes
from slimwave.fem.holes import rectangle_with_holes
from slimwave.fem.mesh_files import read_mesh
from slimwave.fem.meshes import disk, l_shape, rectangle
from slimwave.fem.solver import WaveSolver
from slimwave.fem.space import GLLSpace
from slimwave.fem.triangles import quads_from_triangles

TIMES = np.linspace(0.1, 1.0, 10)


def lengths(space):
    """Length of each named part of the boundary."""
    named = space.mesh.boundaries or {}
    return {name: facet_nodes(space.basis, np.asarray(f)).lengths.sum() for name, f in named.items()}


def disk_error(elements, order=4):
    """Relative error of J0(k r) cos(k t) on the unit disk, k the third zero of J0, over nodes and times."""
    k = jn_zeros(0, 3)[2]
    solver = WaveSolver(disk(elements=elements), order=order)
    solution = solver.run(lambda x, y: j0(k * np.hypot(x, y)), times=TIMES, nodes=True)
    exact = np.cos(k * solution.times)[:, None] * j0(k * np.hypot(*solution.nodes.points))
    return solver.n_dofs, np.linalg.norm(solution.nodes.u - exact) / np.linalg.norm(exact)


def test_disk_against_a_bessel_mode():
    n_dofs, error = disk_error(12)
    assert n_dofs <= 12_000 and error <= 4e-6


def test_order_on_the_disk():
    """Curved elements keep at least the fourth order; straight ones would stop at the second."""
    coarse, fine = disk_error(4)[1], disk_error(8)[1]
    assert np.log2(coarse / fine) > 3.7


def test_output_grid_of_a_disk_has_a_mask():
    """Waves outside are zero, never NaN, and the mask is the disk."""
    solver = WaveSolver(disk(radius=0.5, centre=(1.0, 2.0), elements=4), boundaries={"rim": "neumann"})
    solution = solver.run(1.0, times=[0.3], grid=(41, 41))
    distance = np.hypot(solution.x[:, None] - 1.0, solution.y - 2.0)
    clear = np.abs(distance - 0.5) > 1e-3
    assert np.array_equal(solution.mask[clear], (distance < 0.5)[clear])
    assert np.all(solution.u[0][~solution.mask] == 0.0)
    assert np.allclose(solution.u[0][solution.mask], 1.0, atol=1e-10)


def test_shapes_have_their_areas_and_lengths():
    ell, round_, swiss = (
        GLLSpace(mesh, 3)
        for mesh in (
            l_shape(2.0, 6),
            disk(0.5, elements=6),
            rectangle_with_holes(2.0, 1.0, [(0.6, 0.5, 0.2), (1.4, 0.45, 0.1)], 0.1),
        )
    )
    assert ell.mass.sum() == pytest.approx(3.0)
    assert lengths(ell) == pytest.approx({"left": 2, "right": 1, "bottom": 2, "top": 1, "notch": 2})
    assert round_.mass.sum() == pytest.approx(np.pi / 4, rel=2e-5)
    assert lengths(round_) == pytest.approx({"rim": np.pi}, rel=1e-4)
    assert swiss.mass.sum() == pytest.approx(2 - 0.05 * np.pi, rel=1e-5)
    sides = {"left": 1, "right": 1, "bottom": 2, "top": 2}
    assert lengths(swiss) == pytest.approx(sides | {"hole_1": 0.4 * np.pi, "hole_2": 0.2 * np.pi}, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(0.5, 1.5),
    y=st.floats(0.45, 0.55),
    radius=st.floats(0.02, 0.25),
    size=st.floats(0.04, 0.3),
)
def test_any_hole_that_fits_gives_a_valid_mesh_of_the_right_area(x, y, radius, size):
    space = GLLSpace(rectangle_with_holes(2.0, 1.0, [(x, y, radius)], size), 2)
    assert space.mass.sum() == pytest.approx(2.0 - np.pi * radius**2, abs=0.02 * radius**2)
    assert set(space.mesh.boundaries) == {"left", "right", "bottom", "top", "hole_1"}
    assert lengths(space)["hole_1"] == pytest.approx(2 * np.pi * radius, rel=3e-3)


def test_a_wave_among_holes_conserves_energy_and_reaches_behind_them():
    mesh = rectangle_with_holes(2.0, 1.0, [(1.0, 0.5, 0.2)], 0.1)
    walls = dict.fromkeys(["left", "right", "bottom", "top"], "neumann") | {"hole_1": "dirichlet"}
    start = lambda x, y: np.exp(-((x - 0.35) ** 2 + (y - 0.5) ** 2) / 0.01)  # noqa: E731
    solution = WaveSolver(mesh, boundaries=walls).run(start, times=[0.0, 0.5, 1.3], grid=(81, 41))
    assert np.abs(solution.energy / solution.energy[0] - 1).max() < 2e-4
    shadow = solution.u[:, solution.x > 1.3]
    assert np.abs(shadow[0]).max() < 1e-12 and np.abs(shadow[2]).max() > 0.05
    assert not solution.mask[40, 20] and solution.mask[0, 0]


def standing_error(mesh, order=4):
    """Relative error of cos(πx) cos(2πy) cos(√5 π t) between free walls of the unit square."""
    shape = lambda x, y: np.cos(np.pi * x) * np.cos(2 * np.pi * y)  # noqa: E731
    solution = WaveSolver(mesh, boundaries="neumann", order=order).run(shape, times=TIMES, nodes=True)
    exact = np.cos(np.sqrt(5) * np.pi * TIMES)[:, None] * shape(*solution.nodes.points)
    return np.linalg.norm(solution.nodes.u - exact) / np.linalg.norm(exact)


def test_waves_on_split_triangles_converge():
    meshes = [quads_from_triangles(MeshTri().refined(k)) for k in (2, 3)]
    coarse, fine = (standing_error(mesh) for mesh in meshes)
    assert np.log2(coarse / fine) > 3.9 and fine < 2e-5


def test_split_triangles_keep_area_names_and_curvature():
    named = MeshTri().refined(2).with_boundaries({"left": lambda p: p[0] == 0, "rest": lambda p: p[0] > 0})
    space = GLLSpace(quads_from_triangles(named), 2)
    assert space.mesh.nelements == 3 * named.nelements and space.mass.sum() == pytest.approx(1.0)
    assert lengths(space) == pytest.approx({"left": 1.0, "rest": 3.0})
    straight, curved = (
        GLLSpace(quads_from_triangles(kind.init_circle(3)), 2).mass.sum() for kind in (MeshTri, MeshTri2)
    )
    assert abs(curved - np.pi) < 1e-4 < 1e-2 < abs(straight - np.pi)
    assert GLLSpace(quads_from_triangles(MeshTri2.init_circle(3)), 2).mesh.p.shape[0] == 2


@pytest.mark.parametrize("kind", ["quad", "triangle"])
def test_a_mesh_file_with_named_parts_is_read(kind, tmp_path):
    """A unit square with the physical groups wall (left) and open (the rest) is solved on."""
    meshio = pytest.importorskip("meshio")
    source = rectangle(elements=(6, 6)) if kind == "quad" else MeshTri().refined(3)
    facets = source.boundary_facets()
    edges = source.facets[:, facets].T
    on_left = np.all(source.p[0, edges] == 0.0, axis=1)
    tags = [np.where(on_left, 1, 2), np.full(source.nelements, 3)]
    content = meshio.Mesh(
        np.column_stack([source.p.T, np.zeros(source.p.shape[1])]),
        [("line", edges), (kind, source.t.T)],
        cell_data={"gmsh:physical": tags, "gmsh:geometrical": tags},
        field_data={"wall": np.array([1, 1]), "open": np.array([2, 1]), "inside": np.array([3, 2])},
    )
    path = tmp_path / "square.msh"
    meshio.write(path, content, file_format="gmsh22", binary=False)
    mesh = read_mesh(path)
    assert set(mesh.boundaries) == {"wall", "open"}
    solver = WaveSolver(mesh, boundaries={"wall": "dirichlet", "open": "neumann"})
    shape = lambda x, y: np.sin(0.5 * np.pi * x) + 0 * y  # noqa: E731
    solution = solver.run(shape, times=[0.7], grid=(9, 9))
    assert solution.mask.all()
    exact = np.cos(0.35 * np.pi) * shape(*np.meshgrid(solution.x, solution.y, indexing="ij"))
    assert np.abs(solution.u[0] - exact).max() < 1e-5


@pytest.mark.parametrize("kind", ["triangle6", "quad9"])
def test_curved_elements_are_read_in_any_numbering(kind, tmp_path):
    """A disk of curved elements, its nodes numbered at random, its rim named by curved edges."""
    meshio = pytest.importorskip("meshio")
    source = MeshTri2.init_circle(3) if kind == "triangle6" else disk(elements=4)
    number = np.random.default_rng(0).permutation(source.doflocs.shape[1])
    points = np.zeros((len(number), 3))
    points[number, :2] = source.doflocs.T
    rim = source.boundary_facets()
    edges = np.vstack([source.facets[:, rim], source.dofs.facet_dofs[:1, rim]])
    tags = [np.ones(len(rim), int), np.full(source.nelements, 2)]
    content = meshio.Mesh(
        points,
        [("line3", number[edges].T), (kind, number[source.dofs.element_dofs].T)],
        cell_data={"gmsh:physical": tags, "gmsh:geometrical": tags},
        field_data={"rim": np.array([1, 1]), "inside": np.array([2, 2])},
    )
    meshio.write(tmp_path / "disk.msh", content, file_format="gmsh22", binary=False)
    space = GLLSpace(read_mesh(tmp_path / "disk.msh"), 3)
    assert space.mass.sum() == pytest.approx(np.pi, rel=1e-4)
    assert lengths(space) == pytest.approx({"rim": 2 * np.pi}, rel=1e-4)


def test_without_meshio_a_mesh_file_gives_a_remedy_of_one_line(tmp_path):
    path = tmp_path / "mesh.msh"
    path.touch()
    code = (
        "import sys; sys.modules['meshio'] = None\n"
        f"from slimwave.fem.mesh_files import read_mesh; read_mesh({str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0 and 'pip install "slimwave[mesh]"' in done.stderr.splitlines()[-1]


def test_bad_mesh_files_are_refused(tmp_path):
    meshio = pytest.importorskip("meshio")
    with pytest.raises(FileNotFoundError, match="path: there is no mesh file"):
        read_mesh(tmp_path / "none.msh")
    broken = tmp_path / "broken.msh"
    broken.write_text("$MeshFormat\nnonsense\n")
    with pytest.raises(ValueError, match="path: meshio cannot read"):
        read_mesh(broken)
    lines = tmp_path / "lines.vtk"
    meshio.write(lines, meshio.Mesh(np.eye(3), [("line", [[0, 1], [1, 2]])]))
    with pytest.raises(ValueError, match=r"path: expected cells of one kind of quad, .* got line"):
        read_mesh(lines)
    tilted = tmp_path / "tilted.vtk"
    meshio.write(tilted, meshio.Mesh(np.eye(3), [("triangle", [[0, 1, 2]])]))
    with pytest.raises(ValueError, match=r"path: the mesh in .* does not lie in a plane"):
        read_mesh(tilted)


def inverted():
    """A 3 × 3 mesh with one inner vertex dragged across its neighbours."""
    mesh = rectangle(elements=(3, 3))
    points = mesh.p.copy()
    points[:, np.all(np.abs(points - 1 / 3) < 1e-9, axis=0)] = 0.9
    return MeshQuad(points, mesh.t)


def listed_backwards():
    mesh = rectangle(elements=(3, 3))
    corners = mesh.t.copy()
    corners[:, 4] = corners[::-1, 4]
    return MeshQuad(mesh.p, corners)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GLLSpace(inverted()),
            r"mesh: \d+ of 9 elements are inverted or folded, the first is \d",
        ),
        (
            lambda: GLLSpace(listed_backwards()),
            r"mesh: 1 of 9 elements are inverted .* is 4 near x=0\.5, y=0\.5",
        ),
        (lambda: quads_from_triangles(rectangle()), "mesh: expected a mesh of triangles, got MeshQuad1"),
        (lambda: l_shape(0.0), "size: expected a positive length, got 0"),
        (lambda: l_shape(1.0, 5), "elements: expected an even number of at least 2, got 5"),
        (lambda: disk(-1.0), "radius: expected a positive length, got -1"),
        (lambda: disk(1.0, elements=0), "elements: expected a positive integer, got 0"),
        (lambda: rectangle_with_holes(1, 1, [], 0.0), "element_size: expected a positive length, got 0"),
        (
            lambda: rectangle_with_holes(1, 1, [(0.5, 0.5, 0.0)], 0.1),
            r"holes\[0\] radius: expected a positive",
        ),
        (lambda: rectangle_with_holes(1, 1, [(0.2, 0.5, 0.2)], 0.1), r"holes\[0\]: needs 1\.6 radii of room"),
        (
            lambda: rectangle_with_holes(2, 1, [(0.6, 0.5, 0.2), (1.0, 0.5, 0.2)], 0.1),
            r"holes\[0\], holes\[1\]: the squares .* overlap",
        ),
        (
            lambda: WaveSolver(disk(elements=2), boundaries={"edge": "neumann"}),
            "boundaries: unknown side 'edge'; give one condition for each of rim",
        ),
        (
            lambda: WaveSolver(disk(elements=2)).run(times=[0.1], receivers=[[0.0, 0.0], [0.8, 0.8]]),
            r"receivers: the point x=0\.8, y=0\.8 lies outside the domain",
        ),
    ],
)
def test_bad_domains_and_places_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
