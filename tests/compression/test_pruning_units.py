"""Pruning whole units: rank-one terms, output channels, and weights that no torch layer owns."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slimwave.compression.counting import count_parameters
from slimwave.compression.formats import make_conv
from slimwave.compression.materialise import materialise
from slimwave.compression.pq_index import pq_index
from slimwave.compression.roles import prunable_parameters
from slimwave.compression.sap import PruningWarning, SAPPruner


def one_way_cnn() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        make_conv("cp", 2, 6, 3, rank=12),
        nn.GELU(),
        make_conv("separable", 6, 6, 3, rank=9),
        nn.GELU(),
        nn.Conv2d(6, 2, 1),
    )
    with torch.no_grad():  # terms of very different sizes, as training makes them
        for layer in (model[0], model[2]):
            layer.mix_in.weight.mul_(torch.logspace(0, -3, layer.rank).view(-1, 1, 1, 1))
    return model


@torch.no_grad()
def test_terms_are_measured_by_their_share_in_the_kernel_and_go_whole() -> None:
    """I, m and c of the paper, with the terms' norms in the place of weights."""
    model = one_way_cnn()
    norms = {name: model.get_submodule(name).term_norms() for name in ("0", "2")}
    pruner = SAPPruner(model, scope="term", eta=0.1, gamma=1.2)
    record = pruner.prune_step()
    assert (record.unit, record.total) == ("terms", 12 + 9)
    for group in record.groups:
        w = norms[group.name]
        index = float(pq_index(w))
        m = math.ceil(w.numel() * 1.1 ** (-2) * (1 - index))
        assert (group.d, group.lower_bound) == (w.numel(), m)
        assert group.pq_index == pytest.approx(index)
        assert group.pruned == math.floor(w.numel() * min(1.2 * (1 - m / w.numel()), 0.9)) > 0
        smallest = w.argsort()[: group.pruned]
        assert set((model.get_submodule(group.name).term_norms() == 0).nonzero().flatten().tolist()) == set(
            smallest.tolist()
        )
    assert all("4" not in name for name in pruner.masks)
    assert record.weights_kept == pruner.kept < record.weights_total == pruner.total


def test_pruned_terms_are_taken_out_exactly() -> None:
    model = one_way_cnn()
    pruner = SAPPruner(model, scope="term", eta=0.3)
    kept = {group.name: group.kept for group in pruner.prune_step().groups}
    small, report = materialise(model)
    assert {row.name: row.rank_after for row in report.layers} == kept
    assert count_parameters(small) == count_parameters(model) - (pruner.total - pruner.kept)
    x = torch.randn(1, 2, 9, 9)
    assert torch.allclose(small(x), model(x), rtol=1e-6, atol=1e-7)


def test_channels_go_with_their_biases() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.GELU(), nn.ConvTranspose2d(8, 5, 3), nn.GELU(), nn.Conv2d(5, 2, 1)
    )
    with torch.no_grad():
        model[0].weight.mul_(torch.logspace(-2, 0, 8).view(-1, 1, 1, 1))
        model[2].weight.mul_(torch.logspace(-2, 0, 5).view(1, -1, 1, 1))
    pruner = SAPPruner(model, scope="channel", eta=0.2, exclude=["4"])
    record = pruner.prune_step()
    assert (record.unit, [group.name for group in record.groups]) == ("channels", ["0", "2"])
    for axis, group in zip((0, 1), record.groups, strict=True):
        layer = model[int(group.name)]
        norms = layer.weight.detach().movedim(axis, 0).flatten(1).norm(dim=1)
        assert (norms == 0).nonzero().flatten().tolist() == list(range(group.pruned))
        assert torch.equal(layer.bias == 0, norms == 0)
        assert group.pruned > 0


def test_the_factors_of_compressed_layers_are_no_channels() -> None:
    model = nn.Sequential(make_conv("tucker", 4, 4, 3, rank=2), make_conv("outer", 4, 4, 3), nn.Linear(3, 3))
    assert SAPPruner(model, scope="channel").scope.names == ("2.weight", "2.bias")
    with pytest.raises(ValueError, match="found no channels to prune; scope 'channel' needs dense layers"):
        SAPPruner(model[:2], scope="channel")


class Wave(nn.Module):
    """A step that uses its weights functionally."""

    weight_names = ("stencil",)

    def __init__(self) -> None:
        super().__init__()
        self.stencil = nn.Parameter(torch.randn(1, 1, 5, 5))
        self.speed = nn.Parameter(torch.ones(1))

    def forward(self, u: Tensor) -> Tensor:
        return u + self.speed * F.conv2d(u, self.stencil, padding=2)


@pytest.mark.filterwarnings("ignore:pruning left no weight")
def test_weights_without_a_torch_layer_are_pruned_by_their_names() -> None:
    model = nn.Sequential(Wave(), make_conv("outer", 1, 3, 3))
    assert list(prunable_parameters(model)) == ["0.stencil", "1.filter_0", "1.filter_1"]
    pruner = SAPPruner(model, eta=0.5)
    record = pruner.prune_step()
    assert int((model[0].stencil == 0).sum()) > 0
    assert record.total == 25 + 2 * 9


def test_nan_in_a_term_is_refused() -> None:
    model = one_way_cnn()
    with torch.no_grad():
        model[2].mix_out.weight[0, 3] = math.nan
    with pytest.raises(ValueError, match=r"2\.mix_out\.weight holds NaN"):
        SAPPruner(model, scope="term").prune_step()


def test_masks_of_another_scope_are_refused() -> None:
    terms = SAPPruner(one_way_cnn(), scope="term")
    with pytest.raises(ValueError, match=r"not those of this model; .*4\.weight"):
        SAPPruner(one_way_cnn()).load_state_dict(terms.state_dict())


def test_a_layer_keeps_one_term_at_least() -> None:
    """One term holds everything: m = 1, and γ = 3 then asks for all nine."""
    layer = make_conv("cp", 4, 4, 3, rank=9)
    with torch.no_grad():
        layer.mix_in.weight.mul_(torch.eye(9)[4].view(-1, 1, 1, 1))
    pruner = SAPPruner(layer, scope="term", gamma=3.0, beta=1.0)
    with pytest.warns(PruningWarning, match="all 9 terms of a group in 'the model'; one is kept"):
        record = pruner.prune_step()
    assert (record.kept, bool(layer.kernel().any())) == (1, True)
