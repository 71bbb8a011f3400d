"""Coverage of the 95 % intervals."""

import numpy as np
import pandas as pd
from scipy.special import expit

from benchmarks.decisions.populations import POPULATIONS, draw
from steps.evaluation.intervals import Estimate, threshold_metric_intervals
from steps.evaluation.metrics import threshold_metrics
from steps.evaluation.paired import paired_difference
from steps.monitoring.performance import calibration

POSITIVES = (5, 15, 57, 500)
KS = (0.85, 0.82)
METRICS = ("ks", "roc_auc", "average_precision", "log_loss", "brier", "recall_at_1pct_fpr")
PAIRED = ("ks", "roc_auc", "average_precision")
TRUTH_POSITIVES, NEGATIVES_EACH = 100_000, 20


def coverage(positives: int, tables: int, population: str, seed: int = 1) -> dict[str, float]:
    """Return the share of simulated tables whose interval contains the true value, by metric."""
    random = np.random.default_rng(seed)
    big = _tables(random, population, TRUTH_POSITIVES, 1)
    y, first, second = next(iter(big))
    threshold = float(np.quantile(first[y == 0], 0.95))
    truth = _values(y, first, second, threshold)
    counts = dict.fromkeys(truth, 0)
    for y, first, second in _tables(random, population, positives, tables):
        for name, interval in _intervals(y, first, second, threshold).items():
            counts[name] += truth[name] in interval
    return {name: count / tables for name, count in counts.items()}


def _tables(random, population, positives, tables):
    """Yield labels and the scores of two models, about calibrated."""
    negatives = NEGATIVES_EACH * positives
    y = np.r_[np.ones(positives, np.int64), np.zeros(negatives, np.int64)]
    block = max(1, 200_000 // len(y))
    for start in range(0, tables, block):
        count = min(block, tables - start)
        ks = [np.full(count, value) for value in KS]
        models = draw(random, population, ks, positives, negatives)
        for row in range(count):
            scores = [np.r_[true[row], false[row]].astype(float) for true, false in models]
            yield y, *(expit(2.5 * values - 6.5) for values in scores)


def _values(y, first, second, threshold):
    ours, theirs = Estimate(y, first).metrics, Estimate(y, second).metrics
    differences = {f"difference of {name}": ours[name] - theirs[name] for name in PAIRED}
    return ours | threshold_metrics(y, first, threshold) | calibration(y, first)[0] | differences


def _intervals(y, first, second, threshold):
    ours, theirs = Estimate(y, first), Estimate(y, second)
    differences = {
        f"difference of {name}": paired_difference(ours, theirs, name).interval for name in PAIRED
    }
    return (
        ours.intervals
        | threshold_metric_intervals(y, first, threshold)
        | calibration(y, first)[1]
        | differences
    )


def table(tables: int = 300) -> pd.DataFrame:
    """Return the lower coverage of both populations by metric and number of positives."""
    columns = {}
    for positives in POSITIVES:
        shares = [coverage(positives, tables, population) for population in POPULATIONS]
        columns[positives] = {name: min(share[name] for share in shares) for name in shares[0]}
    return pd.DataFrame(columns)
