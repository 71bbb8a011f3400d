"""Confidence intervals and their simulated coverage."""

import numpy as np
import pytest
from scipy.special import expit

from steps.evaluation import intervals
from steps.evaluation.intervals import (
    Estimate,
    auc_interval,
    ks_interval,
    ks_upper_bound,
    proportion_interval,
    threshold_metric_intervals,
)
from steps.evaluation.metrics import row_losses, threshold_metrics
from steps.evaluation.paired import paired_difference

POSITIVES, NEGATIVES = 74, 4000
METRICS = ("ks", "roc_auc", "average_precision", "log_loss", "brier", "recall_at_1pct_fpr")
PAIRED = ("ks", "roc_auc", "average_precision")


def binormal(random, positives, negatives):
    """Calibrated scores of two models on the same rows; the first has a KS of 0.866."""
    y = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    shared = random.normal(size=len(y))

    def scores(distance):
        ranks = 0.9 * shared + np.sqrt(1 - 0.81) * random.normal(size=len(y)) + distance * y
        return expit(distance * (ranks - distance / 2) + np.log(POSITIVES / NEGATIVES))

    return y, scores(3.0), scores(2.8)


def mixture(random, positives, negatives):
    """As real frauds: most stand out, some do not. The models see them alike."""
    y = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    place = y * np.where(random.random(len(y)) < 0.12, 0.4, 4.0)
    first, second = (place + random.normal(size=len(y)) for _ in range(2))
    return y, expit(2.5 * first - 8), expit(2.5 * second - 8)


@pytest.mark.parametrize("tables_of", [binormal, mixture])
def test_intervals_cover_at_least_90_percent(tables_of):
    """Of 200 small tables, how many have an interval with the value of one 100 times as large?"""
    random = np.random.default_rng(5)
    y, *both = tables_of(random, 100 * POSITIVES, 100 * NEGATIVES)
    true_first, true_second = (Estimate(y, scores).metrics for scores in both)
    tables = 200
    covered = dict.fromkeys((*METRICS, *(f"difference of {name}" for name in PAIRED)), 0)
    for _ in range(tables):
        y, *both = tables_of(random, POSITIVES, NEGATIVES)
        first, second = (Estimate(y, scores) for scores in both)
        for name in METRICS:
            covered[name] += true_first[name] in first.intervals[name]
        for name in PAIRED:
            interval = paired_difference(first, second, name).interval
            covered[f"difference of {name}"] += true_first[name] - true_second[name] in interval
    shares = {name: count / tables for name, count in covered.items()}
    assert min(shares.values()) >= 0.90, shares


@pytest.mark.quick
def test_intervals_contain_their_point():
    y = np.r_[np.ones(20, int), np.zeros(300, int)]
    random = np.random.default_rng(1)
    for scores in (random.random(320), np.where(y == 1, 0.9, 0.1), np.where(y == 1, 0.1, 0.9)):
        found = Estimate(y, scores)
        for name, interval in found.intervals.items():
            assert found.metrics[name] in interval, name
            assert interval.high <= 1 or name == "log_loss"


@pytest.mark.quick
@pytest.mark.parametrize("backward", [False, True])
def test_upper_bound_of_ks_is_that_of_all_thresholds(backward, monkeypatch):
    y, scores, _ = binormal(np.random.default_rng(1), 40, 400)
    scores = 1 - scores if backward else scores
    monkeypatch.setattr(intervals, "THRESHOLDS_AT_ONCE", 7)
    of_each = [ks_interval(y, scores >= threshold, 4.4).high for threshold in np.unique(scores)]
    assert ks_upper_bound(y, scores, 4.4) == pytest.approx(max(of_each), abs=1e-12)


@pytest.mark.quick
def test_backward_model_has_no_ks_and_loses_to_a_forward_one():
    random = np.random.default_rng(1)
    y = np.r_[np.ones(40, int), np.zeros(400, int)]
    scores = expit(random.normal(size=440) + 2 * y - 2)
    forward, backward = Estimate(y, scores), Estimate(y, 1 - scores)
    assert backward.metrics["ks"] < 0.02
    assert backward.intervals["ks"].high < 0.2
    found = paired_difference(forward, backward, "ks")
    assert found.value > 0.5
    assert found.interval.low > 0.4


@pytest.mark.quick
def test_perfect_metric_on_few_rows_is_uncertain():
    y = np.r_[np.ones(20, int), np.zeros(300, int)]
    perfect = Estimate(y, np.where(y == 1, 0.9, 0.1))
    for name in ("ks", "roc_auc", "average_precision", "recall_at_1pct_fpr"):
        assert perfect.metrics[name] == 1
        assert 0.7 < perfect.intervals[name].low < 0.95, name
    almost = auc_interval(1 - 1e-6, 20, 300)
    assert auc_interval(1.0, 20, 300).low == pytest.approx(almost.low, abs=1e-4)
    assert auc_interval(0.0, 20, 300).high > 0.005


@pytest.mark.quick
def test_row_losses_average_to_metrics():
    y, scores, _ = binormal(np.random.default_rng(2), 40, 400)
    metrics = Estimate(y, scores).metrics
    for name, losses in row_losses(y, scores).items():
        assert losses.mean() == pytest.approx(metrics[name])


@pytest.mark.quick
def test_proportion_of_no_rows_is_unknown():
    assert (proportion_interval(0, 0).low, proportion_interval(0, 0).high) == (0, 1)


@pytest.mark.quick
def test_threshold_metrics_have_intervals():
    y, scores, _ = binormal(np.random.default_rng(2), 40, 400)
    values = threshold_metrics(y, scores, 0.02)
    for name, interval in threshold_metric_intervals(y, scores, 0.02).items():
        assert values[name] in interval
        assert 0 <= interval.low < interval.high <= 1
