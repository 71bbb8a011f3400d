"""Metrics of scores."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_curve

from serving.model.probabilities import correct_prior
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import ks, ks_threshold, recall_at_false_positive_rate

pytestmark = pytest.mark.quick


def scored(rows: int = 2000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.05).astype(np.int64)
    return y, expit(random.normal(size=rows) + 2.0 * y - 3)


def test_ks_by_hand():
    y = np.array([0, 0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.5, 0.9])
    # At 0.5 both positives are caught and one of four negatives is.
    assert ks(y, scores) == 0.75
    assert ks_threshold(y, scores) == 0.5


def test_ks_is_maximum_over_thresholds():
    y, scores = scored()
    everywhere = [
        (scores[y == 1] >= at).mean() - (scores[y == 0] >= at).mean() for at in np.unique(scores)
    ]
    assert ks(y, scores) == pytest.approx(max(everywhere), abs=1e-15)
    at = ks_threshold(y, scores)
    reached = (scores[y == 1] >= at).mean() - (scores[y == 0] >= at).mean()
    assert reached == pytest.approx(ks(y, scores), abs=1e-15)


def test_ks_of_ties_is_zero():
    y = np.array([0, 1, 0, 1])
    assert ks(y, np.full(4, 0.5)) == 0.0


def test_ks_of_backward_ranking_is_zero():
    y, scores = scored()
    backward = 1 - scores
    assert ks(y, scores) > 0.5
    assert ks(y, backward) == pytest.approx(0, abs=0.02)
    separated = np.where(y == 1, 0.1, 0.9)
    assert ks(y, separated) == 0.0
    assert ks_threshold(y, separated) == 0.1


def test_recall_at_one_percent_false_positives():
    y = np.r_[np.ones(10, np.int64), np.zeros(200, np.int64)]
    scores = np.r_[np.linspace(0.5, 0.95, 10), np.linspace(0.0, 0.4, 200)]
    scores[10:13] = (0.97, 0.72, 0.71)  # the third false positive is one too many
    assert recall_at_false_positive_rate(y, scores, 0.01) == (scores[:10] > 0.71).mean()


def test_prior_correction_keeps_ranks():
    y, scores = scored(20_000)
    weight = 50.0
    weighted = expit(logit(scores) + np.log(weight))
    corrected = correct_prior(weighted, weight)
    np.testing.assert_allclose(corrected, scores, rtol=1e-12)
    before, after = Estimate(y, weighted).metrics, Estimate(y, corrected).metrics
    assert after["ks"] == before["ks"]
    assert after["roc_auc"] == before["roc_auc"]
    assert after["log_loss"] < before["log_loss"] / 2


def test_threshold_is_a_finite_score():
    y, scores = scored()
    assert ks_threshold(y, scores) in scores
    assert np.isfinite(ks_threshold(y, np.full(len(y), 0.3)))
    assert np.isinf(roc_curve(y, scores)[2][0])  # why the first threshold is left out
