"""Metrics of scores: the same for all engines, splits and live predictions."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
    roc_curve,
)

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8 | np.int64]

FALSE_POSITIVE_LIMIT = 0.01
# With fewer rows, metrics of a split are meaningless. H2O also stops and blends on training rows.
MIN_ROWS_PER_CLASS = {"training": 20, "validation": 5, "test": 5}


def ks(y: Labels, scores: Floats) -> float:
    """Return the exact one-sided Kolmogorov-Smirnov statistic (Kolmogorov 1933, Smirnov 1939).

    It is the maximum over all thresholds of the true positive rate minus the false positive
    rate, and 0 for scores that rank every positive below every negative.
    """
    positives, negatives = scores[y == 1], scores[y == 0]
    return float(ks_2samp(positives, negatives, alternative="less", method="asymp").statistic)


def ks_threshold(y: Labels, scores: Floats) -> float:
    """Return the threshold where KS is reached, always one of `scores`.

    Labelling scores at or above it as 1, the true positive rate exceeds the false positive rate
    by KS.
    """
    false_positives, true_positives, thresholds = roc_curve(y, scores, drop_intermediate=False)
    # The first threshold is infinite: no row is labelled 1.
    return float(thresholds[1:][np.argmax((true_positives - false_positives)[1:])])


def recall_at_false_positive_rate(y: Labels, scores: Floats, limit: float) -> float:
    """Return the highest true positive rate at a false positive rate of at most `limit`."""
    false_positives, true_positives, _ = roc_curve(y, scores, drop_intermediate=False)
    return float(true_positives[false_positives <= limit].max())


def row_losses(y: Labels, scores: Floats) -> dict[str, Floats]:
    """Return the log loss and the Brier score of each row, shape (n_rows,) each."""
    of_label = np.where(y == 1, scores, 1 - scores)
    smallest = np.finfo(np.float64).eps  # as in scikit-learn
    return {"log_loss": -np.log(np.clip(of_label, smallest, 1)), "brier": (y - scores) ** 2}


def threshold_metrics(y: Labels, scores: Floats, threshold: float) -> dict[str, float]:
    """Return recall, precision, false positive rate and alert rate of labels at `threshold`.

    The alert rate is the share of rows labelled 1.
    """
    labelled = scores >= threshold
    return {
        "recall_at_threshold": float(labelled[y == 1].mean()),
        "precision_at_threshold": float(y[labelled].mean()) if labelled.any() else 0.0,
        "fpr_at_threshold": float(labelled[y == 0].mean()),
        "alert_rate_at_threshold": float(labelled.mean()),
    }


METRICS: dict[str, Callable[[Labels, Floats], float]] = {
    "ks": ks,
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
    "log_loss": log_loss,
    "brier": brier_score_loss,
    "recall_at_1pct_fpr": partial(recall_at_false_positive_rate, limit=FALSE_POSITIVE_LIMIT),
}
