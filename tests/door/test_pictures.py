"""The report's pictures: right orientation, right scale, readable by other software."""

import io

import numpy as np
import pytest
from PIL import Image

from slimwave import animation, figures, html
from slimwave.pruning_pictures import pruning_figure


def field(n_times=3, nx=24, ny=16):
    """A pulse at the lower right: large x, small y."""
    x, y = np.meshgrid(np.linspace(0, 1, nx), np.linspace(0, 1, ny), indexing="ij")
    pulse = np.exp(-((x - 0.8) ** 2 + (y - 0.2) ** 2) / 0.01)
    return np.stack([pulse * (1 - 0.1 * i) for i in range(n_times)])


def frames(data):
    image = Image.open(io.BytesIO(data))
    out = []
    for i in range(image.n_frames):
        image.seek(i)
        out.append(np.asarray(image.convert("RGB"), float))
    return out


def test_animation_draws_x_to_the_right_and_y_upwards():
    u = field()
    shown = frames(animation.animate({"FE": u, "error": 0 * u}, np.arange(3.0), panel_height=100))
    assert len(shown) == 3
    darkness = -shown[0][18:118, :150].sum(axis=2)  # the extreme of the scale is its darkest red
    row, column = np.unravel_index(darkness.argmax(), darkness.shape)
    assert column == pytest.approx(0.8 * 150, abs=8)
    assert row == pytest.approx((1 - 0.2) * 100, abs=8)


def test_animation_keeps_one_scale_for_all_panels():
    u = field()
    shown = frames(animation.animate({"FE": u, "half": 0.5 * u}, np.arange(3.0), panel_height=100))[0]
    saturation = np.ptp(shown, axis=2)[18:118]
    assert saturation[:, :150].max() > 1.3 * saturation[:, 156:].max() / 1.3
    assert saturation[:, 156:].max() > 20


def test_animation_survives_a_forecast_that_is_not_finite():
    u = field()
    shown = frames(animation.animate({"FE": u, "blown up": u * np.nan}, np.arange(3.0)))
    assert len(shown) == 3


def test_figures_become_png_pictures():
    times, errors = np.arange(1.0, 4.0), np.array([0.1, 0.2, np.inf])
    u = field()
    drawn = [
        figures.wave_fields({"FE": u, "CNN": 0.9 * u}, [0.0, 1.0, 2.0], 1 + u[0], (1.0, 0.7)),
        figures.error_over_time({"CNN": (times, errors)}, 0.2, dashed=["CNN"]),
        figures.error_against({"CNN": (1e4, 0.1), "FE": (1e-1, 1e-3)}, "parameters", "error, %"),
        figures.pruning_rounds([0.5, 0.4], [1.0, 0.5], [0.1, None], [0.1, 0.5], chosen=1, limit=0.12),
        figures.energy_over_time({"CNN": (times, times)}),
    ]
    for figure in drawn:
        image = Image.open(io.BytesIO(figures.to_png(figure)))
        assert image.format == "PNG"
        assert min(image.size) > 150


def test_error_axis_is_in_percent_and_clipped():
    figure = figures.error_over_time({"CNN": (np.arange(2.0), np.array([0.1, np.inf]))}, 0.2)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [10.0, 1000.0])


def test_html_escapes_and_needs_no_network():
    text = html.page(
        "a <b>",
        [
            html.heading("x & y"),
            html.table(["name", "n"], [["<script>", "1"]]),
            html.picture(b"123", "png", 'a "quoted" picture', "caption"),
            html.folded("settings", "a: <1>"),
        ],
    )
    assert "<script>" not in text
    assert "http" not in text
    assert "data:image/png;base64,MTIz" in text


def test_a_pruning_is_drawn_from_its_records():
    """PQ Index of the survivors, share of weights kept, errors; what blew up is null in the log."""
    records = [
        {"pq_index_after": i, "weights_kept": k, "weights_total": 200, "error": e, "error_pruned": b}
        for i, k, e, b in ((0.4, 200, 0.1, 0.1), (0.3, 100, 0.11, None), (0.35, 50, 0.2, 90.0))
    ]
    index, kept, error = pruning_figure(records, chosen=1, tolerance=1.1).axes
    np.testing.assert_allclose(index.lines[1].get_ydata(), [0.4, 0.3, 0.35])
    np.testing.assert_allclose(kept.lines[1].get_ydata(), [100, 50, 25])
    np.testing.assert_allclose(error.lines[1].get_ydata(), [10, 11, 20])
    np.testing.assert_allclose(error.lines[2].get_ydata(), [np.nan, 1000])
    np.testing.assert_allclose(error.lines[3].get_ydata(), [11, 11])
