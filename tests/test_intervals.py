"""Intervals one may believe: what they cover is simulated, with as few positives as are real."""

import numpy as np
import pytest
from scipy.special import expit

from steps.pipeline.evaluation import at_threshold, evaluate, row_losses
from steps.pipeline.intervals import (
    Estimate,
    Interval,
    at_threshold_intervals,
    auc_interval,
    bootstrap,
    difference,
    proportion_interval,
)

POSITIVES, NEGATIVES = 74, 4000
METRICS = ("ks", "roc_auc", "average_precision", "log_loss", "brier", "recall_at_1pct_fpr")


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
    true_first, true_second = (evaluate(y, scores) for scores in both)
    tables = 200
    covered = dict.fromkeys((*METRICS, *(f"difference of {name}" for name in METRICS)), 0)
    for _ in range(tables):
        y, *both = tables_of(random, POSITIVES, NEGATIVES)
        first, second = (Estimate(y, scores, n_replicates=150) for scores in both)
        for name in METRICS:
            covered[name] += true_first[name] in first.intervals[name]
            _, interval = difference(first, second, name)
            covered[f"difference of {name}"] += true_first[name] - true_second[name] in interval
    shares = {name: count / tables for name, count in covered.items()}
    assert min(shares.values()) >= 0.90, shares


@pytest.mark.quick
class TestBootstrap:
    @pytest.fixture
    def table(self):
        random = np.random.default_rng(3)
        y = (random.random(900) < 0.1).astype(int)
        return y, np.round(random.random(900) * 0.4 + 0.3 * y, 2)  # with many ties

    def test_a_replicate_is_the_metric_of_the_rows_drawn(self, table, monkeypatch):
        y, scores = table
        drawn = []

        class EachRowOnceOrTwice:
            def integers(self, _, size, **__):
                drawn.append(np.arange(size) // 2)  # the first half, twice
                return drawn[-1]

        monkeypatch.setattr(np.random, "default_rng", lambda _: EachRowOnceOrTwice())
        (replicate,) = zip(*bootstrap(y, scores, n_replicates=1).values(), strict=True)
        rows = np.concatenate([np.flatnonzero(y == label)[drawn[label]] for label in (0, 1)])
        expected = evaluate(y[rows], scores[rows])
        del expected["ks"]  # it needs no replicates
        found = dict(zip(bootstrap(y, scores, n_replicates=1), replicate, strict=True))
        assert found == pytest.approx(expected)

    def test_it_repeats_and_two_models_are_drawn_alike(self, table):
        y, scores = table
        first, second = Estimate(y, scores, 20), Estimate(y, scores * 0.5, 20)
        for name in ("roc_auc", "average_precision", "recall_at_1pct_fpr"):
            assert difference(first, second, name)[1] == Interval(0, 0)
            np.testing.assert_array_equal(first.replicates[name], second.replicates[name])


@pytest.mark.quick
def test_intervals_contain_their_point_and_stay_in_range():
    y = np.r_[np.ones(20, int), np.zeros(300, int)]
    random = np.random.default_rng(1)
    for scores in (random.random(320), np.where(y == 1, 0.9, 0.1), np.where(y == 1, 0.1, 0.9)):
        found = Estimate(y, scores, 50)
        for name, interval in found.intervals.items():
            assert found.metrics[name] in interval, name
            assert interval.high <= 1 or name == "log_loss"


@pytest.mark.quick
def test_a_perfect_score_on_few_rows_is_not_taken_for_sure():
    y = np.r_[np.ones(20, int), np.zeros(300, int)]
    perfect = Estimate(y, np.where(y == 1, 0.9, 0.1), 50)
    for name in ("ks", "roc_auc", "average_precision", "recall_at_1pct_fpr"):
        assert perfect.metrics[name] == 1
        assert 0.7 < perfect.intervals[name].low < 0.95, name
    almost = auc_interval(1 - 1e-6, 20, 300)
    assert auc_interval(1.0, 20, 300).low == pytest.approx(almost.low, abs=1e-4)
    assert auc_interval(0.0, 20, 300).high > 0.005


@pytest.mark.quick
def test_row_losses_add_up_to_the_metrics():
    y, scores, _ = binormal(np.random.default_rng(2), 40, 400)
    metrics = evaluate(y, scores)
    for name, losses in row_losses(y, scores).items():
        assert losses.mean() == pytest.approx(metrics[name])


@pytest.mark.quick
def test_a_proportion_of_nothing_may_be_anything():
    assert (proportion_interval(0, 0).low, proportion_interval(0, 0).high) == (0, 1)


@pytest.mark.quick
def test_what_a_threshold_gives_has_intervals_too():
    y, scores, _ = binormal(np.random.default_rng(2), 40, 400)
    values = at_threshold(y, scores, 0.02)
    for name, interval in at_threshold_intervals(y, scores, 0.02).items():
        assert values[name] in interval
        assert 0 <= interval.low < interval.high <= 1
