"""Idle channels go without a change of the output; those that cannot go stay, and the report says why."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

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
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "0", "'1' (Conv2d in 2 groups)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), make_conv("outer", 4, 2, 3)), "0", "they feed '1' (OuterConv)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1)), "0", "'1' (GroupNorm)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), "0", "BatchNorm2d"),
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


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        return self.second(F.relu(self.first(x), inplace=True))


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3)), InPlace()]
)
def test_steps_in_place_leave_the_biases_as_they_are(model):
    """Biases of both signs: clamped ones in the copy would change the live channels."""
    first = next(model.children())
    with torch.no_grad():
        first.bias.copy_(torch.tensor([-1.0, 1.0, -0.5, 0.5, -0.2, 0.2]))
    silence(first, [0, 1])
    small, report = materialise(model.double())
    assert report.channels[0].after == 4
    assert_same_output(model, small)


class Overwritten(nn.Module):
    """What `second` reads has been overwritten by the activation on another branch."""

    def __init__(self):
        super().__init__()
        self.first, self.act = nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True)
        self.second, self.third = nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        h = self.first(x)
        a = self.act(h)
        return self.second(h), self.third(a)


def test_channels_that_one_reader_overwrites_for_another_stay():
    model = Overwritten().double()
    silence(model.first, [0, 1])
    small, report = materialise(model)
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    assert torch.equal(small(x)[0], model(x)[0])
    assert "'act' overwrites them where others read them" in report.channels[0].obstacle


@pytest.mark.parametrize("groups", [2, 4])
def test_channels_made_in_groups_stay(groups):
    """Grouped and depthwise layers: an output channel fixes which inputs it reads."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 3, groups=groups), nn.Conv2d(8, 2, 1)).double()
    silence(model[1], [0, 1])
    small, report = materialise(model)
    assert f"(Conv2d in {groups} groups)" in str(report)
    assert_same_output(model, small)


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised over each output channel."""

    def forward(self, x):
        w = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True) + 0.1
        return F.conv2d(x, w, self.bias)


def hooked(layer):
    layer.register_forward_hook(lambda _module, _inputs, y: y + 1.0)
    return layer


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.3)


def replaced(layer):
    layer.forward = lambda x: F.conv2d(x, layer.weight, layer.bias) + 1.0
    return layer


def standardised(layer):
    new = Standardised(layer.in_channels, layer.out_channels, layer.kernel_size)
    new.load_state_dict(layer.state_dict())
    return new


CHANGES = {
    "a subclass": (standardised, "Standardised"),
    "a hook": (hooked, "Conv2d with forward hooks"),
    "torch's pruning": (pruned, "Conv2d with forward hooks"),
    "a forward of its own": (replaced, "Conv2d with a forward of its own"),
    "weight norm": (parametrizations.weight_norm, "ParametrizedConv2d with parametrizations"),
    "spectral norm": (parametrizations.spectral_norm, "ParametrizedConv2d with parametrizations"),
    "old spectral norm": (nn.utils.spectral_norm, "Conv2d with forward hooks"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_layers_that_do_more_than_their_class_says_keep_what_they_make_and_read(change):
    more, obstacle = CHANGES[change]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 5, 3), nn.GELU(), nn.Conv2d(5, 2, 1))
    silence(model[0], [0])
    deafen(model[4], [1])
    if change != "weight norm":  # it cannot hold a zero row
        silence(model[2], [2])
    model[2] = more(model[2])
    model = model.double().eval()
    small, report = materialise(model)
    rows = {row.name: row for row in report.channels}
    assert f"they feed '2' ({obstacle})" in rows["0"].obstacle
    assert rows["0"].after == 4
    assert change == "weight norm" or (obstacle in rows["2"].obstacle and rows["2"].after == 5)
    assert_same_output(model, small)


def test_a_hook_on_the_way_is_an_obstacle():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), hooked(nn.ReLU()), nn.Conv2d(4, 2, 3)).double()
    silence(model[0], [0])
    small, report = materialise(model)
    assert "they feed '1' (ReLU with forward hooks)" in str(report)
    assert_same_output(model, small)


def test_terms_of_a_layer_with_hooks_inside_stay():
    model = nn.Sequential(make_conv("cp", 3, 4, 3, rank=3), nn.Conv2d(4, 2, 1)).double()
    with torch.no_grad():
        model[0].mix_in.weight[0] = 0.0
    hooked(model[0].mix_in)
    small, report = materialise(model)
    assert "3 kept; dead ones stay: CPConv with forward hooks" in str(report)
    assert_same_output(model, small)


class WithSkip(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x, skip=None):
        h = F.gelu(self.first(x))
        return self.second(h) if skip is None else self.third(h + skip)


class Scaled(WithSkip):
    def forward(self, x, skip=None):
        y = self.second(F.gelu(self.first(x)))
        return y if skip is None else y + skip


def test_a_model_that_branches_on_an_optional_argument_is_left_alone():
    """A trace with symbols for all arguments shows the branch that plain calls do not take."""
    model = WithSkip().double()
    silence(model.first, [0, 1])
    small, report = materialise(model)
    assert_same_output(model, small)
    assert "they depend on the optional arguments of forward (skip)" in report.channels[0].obstacle


def test_an_optional_argument_that_leads_channels_nowhere_else_is_no_obstacle():
    model = Scaled().double()
    silence(model.first, [0, 1])
    small, _ = materialise(model)
    assert small.first.out_channels == 2
    assert_same_output(model, small)
    x, skip = torch.randn(1, 3, 9, 9, dtype=torch.float64), torch.randn(1, 2, 5, 5, dtype=torch.float64)
    assert torch.allclose(small(x, skip), model(x, skip))


def test_too_many_optional_arguments_are_an_obstacle():
    class Many(Scaled):
        def forward(self, x, a=None, b=None, c=None, d=None, e=None):
            return super().forward(x, a or b or c or d or e)

    model = Many()
    silence(model.first, [0])
    assert "more than 4 optional arguments" in str(materialise(model)[1])


class PastTheLayer(WithSkip):
    def forward(self, x):
        return self.second(self.first(x)), F.conv2d(x, self.first.weight)


def test_a_layer_whose_weights_are_read_past_it_stays():
    model = PastTheLayer().double()
    silence(model.first, [0])
    small, report = materialise(model)
    assert "used more than once" in str(report)
    x = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    assert all(torch.equal(y, expected) for y, expected in zip(small(x), model(x), strict=True))


def awake(norm):
    """Give a norm or an activation other numbers for every channel."""
    with torch.no_grad():
        for t in (*norm.parameters(), *norm.buffers()):
            if t.is_floating_point():
                t.uniform_(0.5, 1.5)
    return norm


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([awake(nn.BatchNorm2d(8)), nn.GELU()], 5),
        ([awake(nn.BatchNorm2d(8, affine=False))], 5),
        ([awake(nn.PReLU(8))], 5),
        ([awake(nn.BatchNorm2d(8)), awake(nn.PReLU())], 5),
    ],
)
def test_norms_and_activations_lose_the_numbers_of_the_channels(steps, left):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), *steps, nn.Conv2d(8, 2, 3)).double().eval()
    silence(model[0], [1, 4])
    deafen(model[-1], [6])
    small, report = materialise(model)
    assert small[0].out_channels == small[-1].in_channels == left
    assert all(t.numel() in (1, left) for t in (*small[1].parameters(), *small[1].buffers()))
    assert report.channels[0].folded == 2
    assert_same_output(model, small)


def test_a_volume_loses_channels_through_a_norm():
    model = nn.Sequential(nn.Conv3d(1, 4, 3), awake(nn.BatchNorm3d(4)), nn.Conv3d(4, 1, 1)).double().eval()
    silence(model[0], [2])
    small, _ = materialise(model)
    x = torch.randn(1, 1, 5, 5, 5, dtype=torch.float64)
    assert small[1].num_features == 3
    assert torch.allclose(small(x), model(x), rtol=1e-12, atol=1e-12)


def test_a_norm_that_stands_at_two_places_is_an_obstacle():
    norm = awake(nn.BatchNorm2d(4))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 4, 3), norm, nn.Conv2d(4, 2, 1))
    silence(model.double().eval()[0], [0])
    small, report = materialise(model)
    assert "they feed '1', which is used more than once" in report.channels[0].obstacle
    assert_same_output(model, small)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_pointwise_layer_pads_nothing(padding):
    """A 1 × 1 kernel sees no zeros around the grid, whatever its padding is called."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, padding=padding)).double()
    silence(model[0], [0])
    small, report = materialise(model)
    assert small[0].out_channels == 3
    assert not report.channels[0].obstacle
    assert_same_output(model, small)


@pytest.mark.parametrize(
    ("layer", "axis"),
    [(nn.ConvTranspose2d(4, 6, 3), 1), (nn.Linear(4, 6), 0), (make_conv("tucker", 4, 6, 3, rank=3), 0)],
)
def test_idle_channels_of_layers_that_are_never_narrowed_are_reported(layer, axis):
    """Whole channels that a pruning took away must not vanish from the report."""
    model = nn.Sequential(layer, nn.GELU(), nn.Conv2d(6, 2, 1))
    weight = layer.mix_out.weight if hasattr(layer, "mix_out") else layer.weight
    with torch.no_grad():
        weight.index_fill_(axis, torch.tensor([1, 3]), 0.0)
    (row,) = materialise(model)[1].channels
    assert (row.name, row.before, row.live, row.after) == ("0", 6, 4, 6)
    assert f"({type(layer).__name__})" in row.obstacle


def test_channels_of_a_transposed_layer_in_groups_are_counted_in_their_order():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    with torch.no_grad():
        layer.weight[2:, 1] = 0.0  # the second group makes channels 3, 4 and 5
    assert "6 channels, 5 live, 6 kept" in str(materialise(nn.Sequential(layer))[1])


@torch.no_grad()
@pytest.mark.parametrize(
    ("conv", "factors", "names"),
    [("tucker", ["mix_in", "core"], ["0.mix_in", "0.core"]), ("depthwise", ["filters"], ["0.filters"])],
)
def test_idle_channels_between_the_factors_of_a_layer_are_reported(conv, factors, names):
    layer = make_conv(conv, 4, 4, 3, rank=3 if conv == "tucker" else None)
    for factor in factors:
        layer.get_submodule(factor).weight[0] = 0.0
    rows = materialise(nn.Sequential(layer))[1].channels
    assert [row.name for row in rows] == names
    assert all(row.live == row.after - 1 and type(layer).__name__ in row.obstacle for row in rows)
