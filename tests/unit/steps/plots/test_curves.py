"""Curves of a scored split."""

import numpy as np
import pytest

from steps.plots.curves import curves
from steps.plots.style import as_png

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_equal_scores_of_all_rows_are_drawn(score):
    y = (np.arange(500) % 100 == 0).astype(int)
    for figure in curves(y, np.full(len(y), score), "some model").values():
        as_png(figure)


def test_tiny_scores_do_not_stretch_axes():
    y = (np.arange(5000) % 100 == 0).astype(int)
    figures = curves(y, np.geomspace(1, 1e-150, len(y)), "some model")
    for name in ("ks.png", "calibration.png"):
        (axes,) = figures[name].axes
        assert 1e-9 < axes.get_xlim()[0] < 1e-6
        as_png(figures[name])
