"""Influences of rows on metrics."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from steps.evaluation.influence import influences

METRICS = {
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
}
STEP = 1e-5

pytestmark = pytest.mark.quick


@pytest.fixture
def table():
    random = np.random.default_rng(3)
    y = (random.random(200) < 0.15).astype(int)
    return y, np.round((random.random(200) * 0.6 + 0.3 * y + 0.05), 2)  # with many ties


def heavier(y, row, by):
    """Weights of one row raised, those of its class lowered in proportion."""
    weights = np.ones(len(y))
    weights[row] += by
    same = y == y[row]
    weights[same] *= same.sum() / weights[same].sum()
    return weights


@pytest.mark.parametrize("metric", METRICS)
def test_influence_is_the_slope_of_the_metric_by_weight(table, metric):
    y, scores = table
    found = influences(metric, y, scores)
    for row in range(0, len(y), 5):
        up, down = (
            METRICS[metric](y, scores, sample_weight=heavier(y, row, by)) for by in (STEP, -STEP)
        )
        count = (y == y[row]).sum()
        slope = (up - down) / (2 * STEP) * np.sqrt(count / (count - 1))
        assert found[row] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("metric", METRICS)
def test_influences_of_a_class_add_up_to_zero(table, metric):
    y, scores = table
    found = influences(metric, y, scores)
    assert [found[y == label].sum() for label in (0, 1)] == pytest.approx([0, 0], abs=1e-12)
