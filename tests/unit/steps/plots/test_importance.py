"""The plot of the importance of features."""

import pandas as pd
import pytest

from steps.plots.importance import importance_plot
from steps.plots.style import as_png
from tests.support.figures import figure_text

pytestmark = pytest.mark.quick


def test_plot_shows_the_first_features_under_their_own_names():
    names = ["Charges ($) and ($)", "x" * 99, *(f"c{place}" for place in range(60))]
    table = pd.DataFrame({"column": names, "roc_auc_loss": [0.1 / (i + 1) for i in range(62)]})
    figure = importance_plot(table, "h2o GLM_1")
    text = figure_text(figure)
    assert "h2o GLM_1, 30 of 62 features" in text
    assert "Charges ($) and ($)" in text
    assert "c27" in text
    assert "c28" not in text
    assert as_png(figure).startswith(b"\x89PNG")
