"""Picture of a monitoring run."""

import numpy as np
import pytest

from steps.evaluation.intervals import Interval
from steps.monitoring.drift import measure_drift
from steps.monitoring.performance import measure_performance
from steps.monitoring.summary_plot import summary_picture
from steps.plots.style import as_png
from tests.support.monitoring import scored_window


def texts(picture) -> list[str]:
    return [text.get_text() for text in picture.findobj(lambda a: hasattr(a, "get_text"))]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("minutes", "first"), [(600, "01-01 00:00"), (1700, "01-01 00:00"), (5000, "01-01")]
)
def test_times_of_several_days_have_a_date(reference, manifest, minutes, first):
    seen = scored_window(minutes)
    drift = measure_drift(seen, reference, manifest, 0.2, 0.3)
    picture = summary_picture("title", drift, "few", reference.scores, np.empty(0), None)
    assert first in texts(picture)


@pytest.mark.quick
def test_picture_shows_measures_and_reasons(reference, manifest):
    seen = scored_window(2000, shift=2.0)
    drift = measure_drift(seen, reference, manifest, 0.2, 0.3)
    performance = measure_performance(seen.labelled, 2000, "ks", 0.5)
    scores = (reference.scores, seen.rows["score"].to_numpy())
    test = (0.9, Interval(0.8, 0.95))
    for measured in ((drift, performance), ("few rows", performance), (drift, "no labels")):
        picture = summary_picture("title", *measured, *scores, test)
        shown = " ".join(texts(picture))
        for one in measured:
            assert not isinstance(one, str) or one in shown
        assert as_png(picture).startswith(b"\x89PNG")
    nothing = summary_picture("title", "few", "few", reference.scores, np.empty(0), None)
    assert as_png(nothing).startswith(b"\x89PNG")
