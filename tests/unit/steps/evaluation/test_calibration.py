"""Calibration error and reliability."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from steps.evaluation.calibration import reliability

pytestmark = pytest.mark.quick


@pytest.fixture
def calibrated():
    """Labels drawn from their scores."""
    random = np.random.default_rng(0)
    scores = random.beta(0.3, 6, size=40_000)
    return (random.random(scores.size) < scores).astype(np.int64), scores


def test_error_of_calibrated_scores_is_small(calibrated):
    y, scores = calibrated
    found = reliability(y, scores)
    assert found.calibration_error < 0.005
    assert ((found.low <= found.predicted) & (found.predicted <= found.high)).sum() >= 8


def test_error_is_the_weighted_distance_of_constant_scores():
    y = np.array([1, 0, 0, 0] * 25)
    found = reliability(y, np.full(100, 0.75))
    assert found.rows.tolist() == [100]
    assert found.calibration_error == pytest.approx(0.5)


def test_error_grows_when_log_odds_are_stretched(calibrated):
    y, scores = calibrated
    stretched = 1 / (1 + ((1 - scores) / scores) ** 2)
    assert (
        reliability(y, stretched).calibration_error > 5 * reliability(y, scores).calibration_error
    )


def test_intervals_are_wilson(calibrated):
    y, scores = calibrated
    found = reliability(y, scores)
    assert len(found.rows) == 10
    assert found.rows.sum() == len(y)
    positives = np.round(found.observed * found.rows)
    low, high = proportion_confint(positives, found.rows, method="wilson")
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=1e-4)


def test_few_positives_have_a_bin_each():
    y, scores = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.4, 0.5, 0.2, 0.0])
    assert len(reliability(y, scores).rows) == 2
