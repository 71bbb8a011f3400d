"""Influences of rows on a metric: its variance, and its covariance between two models.

The influence of a row is the derivative of the metric by the weight of the row, centred within its
class (the infinitesimal jackknife: Jaeckel 1972; Efron 1982, "The Jackknife, the Bootstrap and
Other Resampling Plans", chapter 6). For the area under the ROC curve, that is the method of
DeLong, DeLong and Clarke-Pearson (1988, "Comparing the Areas under Two or More Correlated Receiver
Operating Characteristic Curves: A Nonparametric Approach").
"""

import numpy as np

from steps.evaluation.metrics import Floats, Labels, row_losses


def influences(metric: str, y: Labels, scores: Floats) -> Floats:
    """Return the influence of each row on a metric other than KS, shape (n_rows,).

    The sum of their squares is the variance of the metric among tables with as many rows of
    either class, and the sum of their products with those of another model is the covariance.

    Args:
        metric: `roc_auc`, `average_precision`, `log_loss` or `brier`.
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
    """
    if metric == "roc_auc":
        derivatives = _roc_auc_derivatives(y, scores)
    elif metric == "average_precision":
        derivatives = _average_precision_derivatives(y, scores)
    else:
        derivatives = row_losses(y, scores)[metric] / len(y)
    for label in (0, 1):
        rows = y == label
        count = int(rows.sum())
        centred = derivatives[rows] - derivatives[rows].mean()
        derivatives[rows] = centred * np.sqrt(count / max(count - 1, 1))
    return derivatives


def _roc_auc_derivatives(y: Labels, scores: Floats) -> Floats:
    """Return the share of the other class that each row ranks right, by the rows of its class."""
    positives, negatives = np.sort(scores[y == 1]), np.sort(scores[y == 0])
    derivatives = np.empty(len(y))
    derivatives[y == 1] = _share_below(negatives, scores[y == 1]) / len(positives)
    derivatives[y == 0] = (1 - _share_below(positives, scores[y == 0])) / len(negatives)
    return derivatives


def _share_below(ascending: Floats, values: Floats) -> Floats:
    """Return the share of `ascending` below each value; equal ones count half."""
    ends = [np.searchsorted(ascending, values, side) for side in ("left", "right")]
    return np.asarray(sum(ends) / (2 * len(ascending)))


def _average_precision_derivatives(y: Labels, scores: Floats) -> Floats:
    """Return the derivatives of the mean precision at the scores of positives.

    A row changes the precision at each positive that scores no higher; a positive also adds its
    own precision to the mean.
    """
    positives, negatives = np.sort(scores[y == 1]), np.sort(scores[y == 0])
    true = len(positives) - np.searchsorted(positives, positives, "left")
    false = len(negatives) - np.searchsorted(negatives, positives, "left")
    alerts = true + false
    by_positive, by_negative = (
        np.r_[0, np.cumsum(change)] for change in (false / alerts**2, -true / alerts**2)
    )
    own = (true / alerts)[np.searchsorted(positives, scores, "left").clip(max=len(positives) - 1)]
    not_above = np.searchsorted(positives, scores, "right")
    changes = np.where(y == 1, own + by_positive[not_above], by_negative[not_above])
    return np.asarray(changes / len(positives))
