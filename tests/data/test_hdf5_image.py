"""Images of HDF5 files: what h5py reads back is what was put in, and nothing large was copied."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimwave.data.hdf5_image import PAGE, HDF5Image, SparseFile

PLACES = st.integers(0, 3 * PAGE)


@settings(deadline=None)
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


@settings(deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 60), st.integers(1, 60)), max_size=5),
    large=st.booleans(),
)
def test_blocks_are_read_back_between_other_data(shapes: list[tuple[int, ...]], large: bool) -> None:
    """Small blocks lie among HDF5's own data, large ones beyond; other data come before and after."""
    image, rng = HDF5Image(), np.random.default_rng(0)
    fields = {
        f"/of {k}/field": rng.standard_normal((count, nx * (50 if large else 1), ny)).astype(np.float32)
        for k, (count, nx, ny) in enumerate(shapes)
    }
    with h5py.File(image, "w") as file:
        for k, (name, values) in enumerate(fields.items()):
            file[f"before {k}"] = np.arange(700)
            data = image.add_block(file.create_group(f"of {k}"), "field", values.shape)
            data.attrs["note"] = name * 100
    completed = image.copy()
    with h5py.File(completed, "r+") as file:
        file["after"] = np.arange(2000)
    for each, has_more in ((completed, True), (image, False)):
        pieces = each.pieces({name: list(values) for name, values in fields.items()})
        with h5py.File(io.BytesIO(b"".join(pieces))) as file:
            for k, (name, values) in enumerate(fields.items()):
                assert file[name].dtype == np.dtype("<f4")
                assert file[name].chunks is None
                assert np.array_equal(file[name], values)
                assert file[name].attrs["note"] == name * 100
                assert file[f"before {k}"][-1] == 699
            assert ("after" in file) is has_more
        for values in fields.values():
            assert sum(np.shares_memory(np.asarray(piece), values) for piece in pieces) == len(values)


def test_unfit_values_are_refused() -> None:
    with h5py.File(image := HDF5Image(), "w") as file:
        image.add_block(file, "field", (2, 2, 3))
    row = np.zeros((2, 3), "<f4")
    unfit = (np.zeros((3, 2), "<f4"), np.zeros((2, 3)), np.zeros((3, 2), "<f4").T, np.zeros((2, 3), ">f4"))
    for rows in ([row], [row] * 3, *([row, bad] for bad in unfit)):
        with pytest.raises(ValueError, match=r"/field: expected 2 contiguous arrays \(2, 3\) of float32"):
            image.pieces({"/field": rows})
    with pytest.raises(ValueError, match=r"expected values for \['/field'\], got \[\]"):
        image.pieces({})
