"""The separable format: C_in → R along the first axis, R → C_out along the last.

    K[o, i, a_1 … a_n] = Σ_r  A[o, r, a_n] · f_r[a_2] … · B[r, i, a_1]

with a depthwise filter f along the axis between, if there are three.  Its weights number
R (k_1 C_in + k_2 + k_3 C_out), or R (k_1 C_in + k_2 C_out) in the plane.
"""

from slimwave.compression.one_way import OneWayConv


class SeparableConv(OneWayConv):
    """Separable convolution: along the first axis with C_in → R, …, along the last with R → C_out."""

    @classmethod
    def _axes_of(cls, axes: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return (0,), tuple(range(1, axes - 1)), (axes - 1,)
