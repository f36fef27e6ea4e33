"""The animation FE | surrogate | error, as an animated GIF that any browser shows.

Frames are coloured arrays pasted side by side with Pillow (which matplotlib brings along): a hundred
times faster than drawing a hundred matplotlib figures.
"""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from slimwave.figures import FIELD_COLOURS

Array = NDArray[np.floating[Any]]

_GAP, _CAPTION = 6, 18  # pixels
_SHADES = 250  # of the 256 colours that a GIF has
_WHITE, _INK = _SHADES, _SHADES + 1


def animate(
    panels: Mapping[str, Array], times: Array, *, panel_height: int = 180, milliseconds: int = 80
) -> bytes:
    """Return the bytes of an animated GIF, one panel per entry side by side.

    Parameters
    ----------
    panels : mapping of caption to array (n, nx, ny)
        Fields on one common colour scale, symmetric about zero: that of the first panel.
    times : array (n,)
        The time written below each frame.
    panel_height : int
        Height of a panel in pixels; the width follows from the grid.
    milliseconds : int
        Time that each frame is shown.
    """
    scale = float(np.abs(next(iter(panels.values()))).max()) or 1.0
    frames = [_frame(panels, i, float(t), scale, panel_height) for i, t in enumerate(times)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=False
    )
    return buffer.getvalue()


def _palette() -> list[int]:
    """Return the GIF's palette: the field colours, then white and the ink of the captions."""
    colours = matplotlib.colormaps[FIELD_COLOURS](np.linspace(0, 1, _SHADES), bytes=True)[:, :3]
    return [*colours.ravel().tolist(), 255, 255, 255, 40, 40, 40]


def _frame(panels: Mapping[str, Array], index: int, time: float, scale: float, height: int) -> Image.Image:
    images = [_coloured(field[index], scale, height) for field in panels.values()]
    width = sum(image.width for image in images) + _GAP * (len(images) - 1)
    canvas = Image.new("P", (width, height + 2 * _CAPTION), _WHITE)
    canvas.putpalette(_palette())
    pen = ImageDraw.Draw(canvas)
    pen.fontmode = "1"  # no smoothing: in-between inks are not in the palette
    left = 0
    for caption, image in zip(panels, images, strict=True):
        canvas.paste(image, (left, _CAPTION))
        pen.text((left + 2, 3), caption, fill=_INK)
        left += image.width + _GAP
    pen.text((2, height + _CAPTION + 3), f"t = {time:.2f}", fill=_INK)
    return canvas


def _coloured(field: Array, scale: float, height: int) -> Image.Image:
    """Colour a field (nx, ny): x to the right, y upwards, blue negative and red positive."""
    width = round(height * field.shape[0] / field.shape[1])
    image = Image.fromarray(np.ascontiguousarray(field.T[::-1], np.float32))
    smooth = np.nan_to_num(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)))
    shades = np.rint((np.clip(smooth / scale, -1, 1) + 1) / 2 * (_SHADES - 1))
    return Image.fromarray(shades.astype(np.uint8))
