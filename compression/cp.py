"""The CP format: every factor of the kernel is a vector.

    K[o, i, a_1 … a_n] = Σ_r  A[o, r] · f¹_r[a_1] · … · fⁿ_r[a_n] · B[r, i],

applied as a 1×1 convolution B (C_in → R), one depthwise filter along each axis in turn, and a 1×1 convolution
A (R → C_out).  Its weights number R (C_in + C_out + Σ k_j): long filters are almost free.
"""

from slimwave.compression.one_way import OneWayConv


class CPConv(OneWayConv):
    """CP convolution: 1×1 → a depthwise filter along each axis → 1×1.

    ONNX Runtime is fastest where the rank is a multiple of 16.
    """

    @classmethod
    def _axes_of(cls, axes: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return (), tuple(range(axes)), ()
