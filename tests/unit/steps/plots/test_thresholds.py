"""Plots of cost, alerts, gains and lift."""

import numpy as np
import pytest

from steps.plots.style import as_png
from steps.plots.thresholds import threshold_plots
from tests.support.figures import figure_text

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("costs", [(), (500.0, 10.0)])
def test_plots_mark_the_threshold(costs):
    random = np.random.default_rng(1)
    y = (random.random(3000) < 0.05).astype(np.int64)
    scores = np.clip(random.random(3000) * 0.5 + 0.5 * y * random.random(3000), 0, 1)
    figures = threshold_plots(y, scores, 0.4, costs, "a model")
    assert list(figures) == ["cost.png", "alerts.png", "gains.png", "lift.png"]
    for figure in figures.values():
        assert figure_text(figure).count("a model") == 1
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert "threshold 0.4" in labels
        assert as_png(figure).startswith(b"\x89PNG")
    shown = [text.get_text() for text in figures["cost.png"].axes[0].get_legend().get_texts()]
    assert ("missed 500, alarm 10" in shown) == bool(costs)
