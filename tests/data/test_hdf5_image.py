"""Images of HDF5 files: what h5py reads back is what was put in, and nothing large was copied."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimwave.data.hdf5_image import PAGE, HDF5Image, SparseFile

PLACES = st.integers(0, 3 * PAGE)


@given(
    writes=st.lists(st.tuples(PLACES, st.binary(max_size=2 * PAGE)), max_size=6),
    start=PLACES,
    count=st.integers(0, 4 * PAGE),
)
def test_sparse_file_is_a_file(writes: list[tuple[int, bytes]], start: int, count: int) -> None:
    """Against `io.BytesIO`: writes in any order, with gaps and over one another."""
    ours, theirs = SparseFile(), io.BytesIO()
    for place, content in writes:
        for file in (ours, theirs):
            file.seek(place)
            assert file.write(content) == len(content)
    for file in (ours, theirs):
        file.seek(start)
    assert ours.read(count) == theirs.read(count)
    assert ours.tell() == theirs.tell()


@given(
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 60), st.integers(1, 60)), max_size=5),
    large=st.booleans(),
)
def test_blocks_are_read_back_between_other_data(shapes: list[tuple[int, ...]], large: bool) -> None:
    """Small blocks lie among HDF5's own data, large ones beyond; attributes come before and after."""
    image, rng = HDF5Image(), np.random.default_rng(0)
    fields = {
        f"field{k}": rng.standard_normal((count, nx * (50 if large else 1), ny)).astype(np.float32)
        for k, (count, nx, ny) in enumerate(shapes)
    }
    with h5py.File(image, "w") as file:
        for name, values in fields.items():
            file[f"before {name}"] = np.arange(700)
            data = image.add_block(file.create_group(f"of {name}"), name, list(values))
            data.attrs["note"] = name * 100
    pieces = image.pieces()
    with h5py.File(io.BytesIO(b"".join(pieces))) as file:
        for name, values in fields.items():
            data = file[f"of {name}"][name]
            assert data.dtype == np.dtype("<f4")
            assert data.chunks is None
            assert np.array_equal(data, values)
            assert data.attrs["note"] == name * 100
            assert file[f"before {name}"][-1] == 699
    for values in fields.values():
        assert sum(np.shares_memory(np.asarray(piece), values) for piece in pieces) == len(values)


def test_unfit_blocks_are_refused() -> None:
    rows = [np.zeros((2, 3), "<f4")]
    with h5py.File(image := HDF5Image(), "w") as file:
        for bad in (
            np.zeros((3, 2), "<f4"),
            np.zeros((2, 3)),
            np.zeros((3, 2), "<f4").T,
            np.zeros((2, 3), ">f4"),
        ):
            with pytest.raises(ValueError, match="field: expected contiguous, little-endian arrays of one"):
                image.add_block(file, "field", [*rows, bad])
