"""Picture of a monitoring run."""

import numpy as np
import pytest

from steps.evaluation.intervals import Interval
from steps.monitoring.drift import measure_drift
from steps.monitoring.performance import measure_performance
from steps.monitoring.summary_plot import summary_picture
from steps.plots.style import as_png
from tests.support.monitoring import scored_window


@pytest.mark.quick
def test_picture_shows_measures_and_reasons(reference, manifest):
    seen = scored_window(2000, shift=2.0)
    drift = measure_drift(seen, reference, manifest, 0.2, 0.3)
    performance = measure_performance(seen.labelled, 2000, "ks", 0.5)
    scores = (reference.scores, seen.rows["score"].to_numpy())
    test = (0.9, Interval(0.8, 0.95))
    for measured in ((drift, performance), ("few rows", performance), (drift, "no labels")):
        picture = summary_picture("title", *measured, *scores, test)
        shown = " ".join(t.get_text() for t in picture.findobj(lambda a: hasattr(a, "get_text")))
        for one in measured:
            assert not isinstance(one, str) or one in shown
        assert as_png(picture).startswith(b"\x89PNG")
    nothing = summary_picture("title", "few", "few", reference.scores, np.empty(0), None)
    assert as_png(nothing).startswith(b"\x89PNG")
