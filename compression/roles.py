"""Which parameters are weights: chosen by the role they play, not by a name that contains "weight".

The weights of convolutions and linear layers count, and so do the factors of compressed layers; biases,
norms and frozen stencils do not.  A module that uses weights functionally, without a torch layer of their
own, names them in an attribute `weight_names`, as `OuterConv` does:

    class Wave(nn.Module):
        weight_names = ("stencil",)
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

WEIGHTED = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Say whether a dotted name, or a module that holds it, matches one of the shell-style patterns."""
    parts = name.split(".")
    owners = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return any(fnmatchcase(owner, pattern) for owner in owners for pattern in patterns)


def select(names: Sequence[str], include: Sequence[str] | None, exclude: Sequence[str] | None) -> list[str]:
    """Return the `names` matching `include` (all if None) and not `exclude`; a string is one pattern.

    Raises
    ------
    ValueError
        If a pattern matches none of the names.
    """
    include, exclude = _patterns(include), _patterns(exclude)
    for flag, patterns in (("include", include or ()), ("exclude", exclude or ())):
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in names):
                raise ValueError(
                    f"{flag}: {pattern!r} matches none of the layers; known are {', '.join(names) or 'none'}"
                )
    wanted = [name for name in names if include is None or matches(name, include)]
    return [name for name in wanted if not matches(name, exclude or ())]


def _patterns(given: Sequence[str] | None) -> Sequence[str] | None:
    """Return a list of patterns; a string alone is one of them, not a list of letters."""
    return [given] if isinstance(given, str) else given


def prunable_parameters(
    model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> dict[str, nn.Parameter]:
    """Return the trainable weights of the model, by name.

    Parameters
    ----------
    include, exclude
        One shell-style pattern of parameter or module names, e.g. `"blocks.*"`, or a list of them; a shared
        weight has the name under which it is met first.

    Raises
    ------
    ValueError
        If nothing is left to prune, a pattern matches nothing, or a weight is computed from other
        parameters (`torch.nn.utils.parametrize`) and so cannot be masked.
    """
    weights: dict[str, nn.Parameter] = {}
    for name, weight in _named_weights(model):
        if weight.requires_grad and not any(weight is known for known in weights.values()):
            weights[name] = weight
    chosen = select(list(weights), include, exclude)
    if not chosen:
        raise ValueError(
            "model: found no trainable convolution or linear weight to prune; check include and exclude"
        )
    return {name: weights[name] for name in chosen}


def _named_weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, module in model.named_modules():
        own = ("weight",) if isinstance(module, WEIGHTED) else tuple(getattr(module, "weight_names", ()))
        for leaf in own:
            name = f"{prefix}.{leaf}" if prefix else leaf
            weight = module._parameters.get(leaf)
            if weight is None:
                raise ValueError(
                    f"{name} is computed from other parameters; remove its parametrization first"
                )
            yield name, weight
