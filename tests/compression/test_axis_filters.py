"""Compiled filters along an axis: equal to torch's convolutions in both directions, and out of tools' way."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from slimwave.compression.axis_filters import AxisFilter2d, AxisFilter3d, as_convolutions, filter_along
from slimwave.compression.counting import count_macs
from slimwave.compression.formats import make_conv


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """With several threads the filters are torch's own."""
    torch.set_num_threads(1)


def gradients(call: object, x: Tensor, weight: Tensor, against: Tensor) -> list[Tensor]:
    """Value of a call, and its gradients with respect to the field and the weight."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    y = call(x, weight)  # type: ignore[operator]
    (y * against).sum().backward()
    assert x.grad is not None
    assert weight.grad is not None
    return [y.detach(), x.grad, weight.grad]


@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.sampled_from([1, 3, 5]),
    st.data(),
)
def test_values_and_gradients_equal_those_of_torch_s_convolution(
    batch: int, channels: int, grid: list[int], taps: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(grid) - 1))
    grid[axis] += taps - 1
    torch.manual_seed(data.draw(st.integers(0, 99)))
    x, weight = torch.randn(batch, channels, *grid), torch.randn(channels, taps)
    grid[axis] -= taps - 1
    against = torch.randn(batch, channels, *grid)
    compiled = gradients(lambda x, w: filter_along(x, w, axis), x, weight, against)
    with as_convolutions():
        expected = gradients(lambda x, w: filter_along(x, w, axis), x, weight, against)
    for found, true in zip(compiled, expected, strict=True):
        assert torch.allclose(found, true, rtol=1e-4, atol=1e-4)


def test_gradients_equal_those_in_double_precision() -> None:
    """The double-precision path is torch's own."""
    x, weight, against = torch.randn(2, 8, 40, 33), torch.randn(8, 7), torch.randn(2, 8, 34, 33)
    single = gradients(lambda x, w: filter_along(x, w, 0), x, weight, against)
    double = gradients(lambda x, w: filter_along(x, w, 0), x.double(), weight.double(), against.double())
    for found, true in zip(single, double, strict=True):
        assert float((found - true).norm() / true.norm()) < 1e-6


def test_a_field_of_any_memory_layout_is_filtered() -> None:
    x, weight = torch.randn(2, 4, 12, 10), torch.randn(4, 3)
    expected = filter_along(x, weight, 1)
    assert torch.equal(filter_along(x.contiguous(memory_format=torch.channels_last), weight, 1), expected)
    assert torch.equal(filter_along(x.transpose(2, 3), weight, 0), expected.transpose(2, 3))


def test_a_field_shorter_than_the_filter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 5 nodes along axis 1, got a field of \(9, 4\)"):
        filter_along(torch.randn(1, 2, 9, 4), torch.randn(2, 5), 1)


@pytest.mark.parametrize(
    "layer",
    [AxisFilter2d(4, 4, (1, 3), groups=4, bias=False), AxisFilter3d(4, 4, (3, 1, 1), groups=4, bias=False)],
)
def test_a_layer_runs_compiled_where_it_can_and_as_a_convolution_where_it_must(layer: nn.Module) -> None:
    runs: list[str] = []
    x = torch.randn(2, 4, *(7 for _ in layer.kernel_size))  # type: ignore[union-attr]

    def name(field: Tensor) -> str:
        return type(layer(field).grad_fn).__name__

    assert name(x) == "_AxisFilterBackward"
    for context in (as_convolutions(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            runs.append(name(x))
    torch.set_num_threads(2)
    runs.append(name(x))
    torch.set_num_threads(1)
    layer = copy.deepcopy(layer).double()
    runs.append(name(x.double()))
    assert all("Convolution" in run or "ToCopy" in run for run in runs)


@pytest.mark.parametrize(
    "change", [{"stride": (1, 2)}, {"padding": (0, 1)}, {"dilation": (1, 2)}, {"padding": "same"}]
)
def test_a_layer_with_steps_or_padding_is_torch_s_own(change: dict[str, object]) -> None:
    layer = AxisFilter2d(4, 4, (1, 3), groups=4, bias=False, **change)  # type: ignore[arg-type]
    plain = nn.Conv2d(4, 4, (1, 3), groups=4, bias=False, **change)  # type: ignore[arg-type]
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9)
    assert torch.equal(layer(x), plain(x))


def test_filters_are_counted_and_exported_as_convolutions() -> None:
    """R (C_in + C_out) at the nodes of the 1 × 1 factors and R k at those of each filter."""
    layer = make_conv("cp", 4, 6, 5, rank=3, bias=False)
    x = torch.randn(1, 4, 12, 10)
    assert count_macs(layer, x) == 3 * (4 * 120 + 5 * 80 + 5 * 48 + 6 * 48)
    program = torch.export.export(layer, (x,))
    targets = {str(node.target) for node in program.graph.nodes}
    assert "aten.conv2d.default" in targets
    assert torch.allclose(program.module()(x), layer(x), atol=1e-5)
