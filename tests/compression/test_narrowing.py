"""Idle channels go without a change of the output; those that cannot go stay, and the report says why."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slimwave.compression.formats import make_conv
from slimwave.compression.materialise import materialise


def silence(layer, channels):
    making = layer.mix_out if hasattr(layer, "mix_out") else layer
    with torch.no_grad():
        making.weight[channels] = 0.0


def deafen(layer, channels):
    reading = layer.mix_in if hasattr(layer, "mix_in") else layer
    with torch.no_grad():
        reading.weight[:, channels] = 0.0


def assert_same_output(model, small, size=20):
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    expected = model(x)
    assert (small(x) - expected).abs().max() <= 1e-12 * expected.abs().max()


def chain(conv, padding, mode="zeros", bias=True):
    def layer(c_in, c_out):
        rank = 4 if conv == "cp" else None
        steps = {"padding": padding, "padding_mode": mode, "bias": bias}
        return make_conv(conv, c_in, c_out, 3, rank=rank, **steps)

    return nn.Sequential(layer(3, 8), nn.GELU(), layer(8, 6), nn.SiLU(), layer(6, 2)).double()


@settings(max_examples=40, deadline=None)
@given(
    conv=st.sampled_from(["dense", "cp"]),
    padding=st.sampled_from([0, 1]),
    mode=st.sampled_from(["zeros", "circular"]),
    bias=st.booleans(),
    silent=st.sets(st.integers(0, 7)),
    deaf=st.sets(st.integers(0, 5)),
    align=st.sampled_from([1, 4]),
)
def test_the_output_stays_the_same(conv, padding, mode, bias, silent, deaf, align):
    model = chain(conv, padding, mode, bias)
    silence(model[0], sorted(silent))
    deafen(model[4], sorted(deaf))
    small, report = materialise(model, align)
    assert_same_output(model, small)
    rows = {row.name: row for row in report.channels}
    edges = padding and mode == "zeros" and bias
    if silent and not edges:
        kept = max(1, 8 - len(silent))
        assert rows["0"].after == min(8, -(-kept // align) * align)
        assert not rows["0"].obstacle
    if silent and edges:
        assert "zeros padded around it" in rows["0"].obstacle
    if deaf:
        assert rows["2"].after == min(6, -(-max(1, 6 - len(deaf)) // align) * align)


def test_a_constant_moves_into_the_bias_of_its_reader():
    model = chain("dense", 0)
    silence(model[0], [1, 4])
    small, report = materialise(model)
    assert small[0].out_channels == small[2].in_channels == 6
    assert report.channels[0].folded == 2
    assert "0: 8 channels, 6 live, 6 kept, 2 folded into biases" in str(report)
    assert not torch.equal(small[2].bias, model[2].bias)
    assert report.parameters_after < report.parameters_before


def test_removing_channels_frees_terms_and_the_other_way_round():
    """Rank 1 reads channel 0 alone; without it the term is dead, and without terms its layer is silent."""
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3, bias=False), make_conv("cp", 2, 4, 3, rank=2), nn.Conv2d(4, 1, 1)
    )
    silence(model.double()[0], [0])
    with torch.no_grad():
        model[1].mix_in.weight.zero_()
        model[1].mix_in.weight[0, 0] = 1.0
        model[1].mix_in.weight[1, 1] = 1.0
        model[1].mix_out.weight[2:, 1] = 0.0
    small, report = materialise(model)
    assert_same_output(model, small)
    assert small[1].rank == 1
    assert small[2].in_channels == 2
    assert {row.name for row in report.channels} == {"0", "1"}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        h = self.first(x)
        return self.twice(self.twice(torch.relu(h + self.second(h))))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.last(self.conv(x)) if x.sum() > 0 else self.last(self.conv(-x))


@pytest.mark.parametrize(
    ("model", "layer", "obstacle"),
    [
        (Residual(), "second", "they feed 'add'"),
        (Residual(), "twice", "used more than once"),
        (Untraceable(), "conv", "cannot be traced"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), "0", "the output of the model"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "0", "a grouped convolution"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), make_conv("outer", 4, 2, 3)), "0", "inputs cannot be narrowed"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)), "0", "they feed '1'"),
    ],
)
def test_channels_that_cannot_be_followed_stay(model, layer, obstacle):
    silence(model.get_submodule(layer), [0])
    small, report = materialise(model.double().eval())
    rows = {row.name: row for row in report.channels}
    assert obstacle in rows[layer].obstacle
    assert rows[layer].live == rows[layer].after - 1
    assert_same_output(model, small)


def test_a_silent_model_keeps_one_channel_everywhere():
    model = chain("dense", 0)
    for layer in (model[0], model[2], model[4]):
        silence(layer, slice(None))
    small, _ = materialise(model)
    assert [small[n].out_channels for n in (0, 2, 4)] == [1, 1, 2]
    assert_same_output(model, small)


def test_what_does_nothing_wrong_is_left_alone():
    model = nn.Sequential(make_conv("separable", 3, 4, 3, rank=2), nn.ReLU(), nn.Conv2d(4, 2, 3)).train()
    small, report = materialise(model)
    assert report.channels == ()
    assert small.training
    assert report.parameters_before == report.parameters_after
    root, _ = materialise(make_conv("separable", 3, 4, 3, rank=2))
    assert root.rank == 2
