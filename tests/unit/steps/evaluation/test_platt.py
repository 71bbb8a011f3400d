"""Platt scaling of a candidate's scores."""

import numpy as np
import pytest
from scipy.special import expit, logit

from steps.evaluation.calibration import reliability
from steps.evaluation.intervals import Estimate
from steps.evaluation.platt import fit_calibration, learn_calibration

pytestmark = pytest.mark.quick

ORDER = ("ks", "roc_auc", "average_precision", "recall_at_1pct_fpr")


def drawn(rows, seed=0):
    """Return labels and the probabilities that they were drawn from."""
    random = np.random.default_rng(seed)
    probability = expit(random.normal(-2.0, 1.5, rows))
    return (random.random(rows) < probability).astype(np.int64), probability


def test_distorted_log_odds_are_restored():
    y, probability = drawn(20_000)
    distorted = expit(2.0 * logit(probability) + 1.0)
    scaling = learn_calibration(y, distorted)
    assert scaling.calibration.slope == pytest.approx(0.5, abs=0.03)
    assert scaling.calibration.intercept == pytest.approx(-0.5, abs=0.05)
    assert scaling.log_loss == pytest.approx(Estimate(y, distorted).metrics["log_loss"], rel=1e-12)
    gain = scaling.log_loss - scaling.cross_fitted_log_loss
    assert gain > 10 * scaling.standard_error
    before = reliability(y, distorted).calibration_error
    assert reliability(y, scaling.scores).calibration_error < 0.1 * before
    assert str(scaling).startswith("slope 0.")


def test_metrics_of_order_stay_to_the_last_digit():
    y, probability = drawn(5000)
    near = np.random.default_rng(1).integers(1, 10, 5000) * 2.0**-53  # within 1e-15 of 0
    edge = np.arange(5000) % 50
    distorted = expit(3.0 * logit(probability))
    distorted = np.where(edge == 0, near, np.where(edge == 1, 1.0 - 2.0**27 * near, distorted))
    y = np.where(edge == 0, 0, np.where(edge == 1, 1, y))
    y[[0, 50, 1, 51]] = 1, 1, 0, 0
    scaling = learn_calibration(y, distorted)
    assert scaling.calibration.slope < 0.9
    before, after = Estimate(y, distorted).metrics, Estimate(y, scaling.scores).metrics
    assert [after[name] for name in ORDER] == [before[name] for name in ORDER]


def test_calibrated_scores_stay_as_they_are():
    y, probability = drawn(20_000)
    scaling = learn_calibration(y, probability)
    assert scaling.calibration is None
    assert scaling.scores is probability
    assert str(scaling).startswith("none: change of cross-fitted log loss ")


def test_cross_fitted_log_loss_is_not_flattered():
    gaps = []
    for seed in range(10):
        y, probability = drawn(300, seed)
        scaling = learn_calibration(y, expit(3.0 * logit(probability) - 2.0))
        flattered = Estimate(y, scaling.scores).metrics["log_loss"]
        gaps.append(scaling.cross_fitted_log_loss - flattered)
    assert min(gaps) > 0


def test_scores_that_a_calibration_would_tie_stay_as_they_are():
    y, probability = drawn(5000)
    flat = expit(0.2 * logit(probability))
    top = np.arange(100)
    flat[top], y[top] = 1.0 - 2.0**-53 * (1 + top), top != 50
    scaling = learn_calibration(y, flat)
    assert scaling.calibration is None
    assert scaling.reason.startswith("it would tie scores")


@pytest.mark.parametrize("scores", ["reversed", "separating", "certain"])
def test_no_slope_fits(scores):
    y, probability = drawn(1000)
    found = {"reversed": 1.0 - probability, "separating": 0.2 + 0.6 * y, "certain": 1.0 * y}
    scaling = learn_calibration(y, found[scores])
    assert scaling.calibration is None
    assert scaling.reason == "no finite positive slope minimises the log loss"


def test_scores_of_0_and_1_do_not_change_the_line():
    y, probability = drawn(2000)
    expected = fit_calibration(y, probability)
    with_certain = np.concatenate([probability, [0.0, 1.0]]), np.concatenate([y, [1, 0]])
    assert fit_calibration(with_certain[1], with_certain[0]) == expected
