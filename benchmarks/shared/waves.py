"""What benchmarks of the solver share: spaces ready for sampling, and media."""

import numpy as np

from slimwave.fem.materials import Material
from slimwave.fem.media import draw_smooth_random_medium
from slimwave.fem.meshes import rectangle
from slimwave.fem.space import GLLSpace


def sampled_space(
    elements: int, grid: tuple[int, int], *, order: int = 4, structured: bool = True
) -> GLLSpace:
    """Square of elements × elements with all that is set up once: mesh, nodes and sampling on a grid."""
    space = GLLSpace(rectangle(elements=(elements, elements)), order, structured=structured)
    space.sampler(*grid)
    return space


def random_media(count: int) -> list[Material]:
    """Smooth random media with c in [1, 2]."""
    return [draw_smooth_random_medium(np.random.default_rng(k), correlation_length=0.3) for k in range(count)]
