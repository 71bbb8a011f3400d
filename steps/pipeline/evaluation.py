"""The one judge: every engine's scores are measured here, and nowhere else."""

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
Labels = npt.NDArray[np.int64]

FALSE_POSITIVE_LIMIT = 0.01
# Below this no metric of a split means anything; H2O needs a few to stop and to blend on.
FEWEST_ROWS_OF_A_CLASS = {"training": 20, "validation": 5, "test": 5}


def ks(y: Labels, scores: Floats) -> float:
    """Return the exact Kolmogorov-Smirnov statistic: the largest distance between the score
    distributions of the two classes, over every threshold (Kolmogorov 1933, Smirnov 1939).
    """
    return float(ks_2samp(scores[y == 1], scores[y == 0], method="asymp").statistic)


def ks_threshold(y: Labels, scores: Floats) -> float:
    """Return the score at which KS is reached: labelling scores at or above it as 1 makes the
    true positive rate exceed the false positive rate by KS.
    """
    false_positives, true_positives, thresholds = roc_curve(y, scores, drop_intermediate=False)
    # The first threshold is infinite: nothing is labelled 1.
    return float(thresholds[1:][np.argmax((true_positives - false_positives)[1:])])


def recall_at_false_positive_rate(y: Labels, scores: Floats, limit: float) -> float:
    """Return the highest true positive rate at a false positive rate of at most `limit`."""
    false_positives, true_positives, _ = roc_curve(y, scores, drop_intermediate=False)
    return float(true_positives[false_positives <= limit].max())


def row_losses(y: Labels, scores: Floats) -> dict[str, Floats]:
    """Return what each row adds to log loss and Brier score, both means over the rows."""
    of_label = np.where(y == 1, scores, 1 - scores)
    smallest = np.finfo(np.float64).eps  # as scikit-learn's log_loss
    return {"log_loss": -np.log(np.clip(of_label, smallest, 1)), "brier": (y - scores) ** 2}


def at_threshold(y: Labels, scores: Floats, threshold: float) -> dict[str, float]:
    """Return what labels at `threshold` are worth: recall, precision, false positive rate."""
    labelled = scores >= threshold
    return {
        "recall_at_threshold": float(labelled[y == 1].mean()),
        "precision_at_threshold": float(y[labelled].mean()) if labelled.any() else 0.0,
        "fpr_at_threshold": float(labelled[y == 0].mean()),
    }


def evaluate(y: Labels, scores: Floats) -> dict[str, float]:
    """Return all metrics of `scores`, probabilities of class 1, shape (n_rows,), against `y`."""
    return {
        "ks": ks(y, scores),
        "roc_auc": float(roc_auc_score(y, scores)),
        "average_precision": float(average_precision_score(y, scores)),
        "log_loss": float(log_loss(y, scores)),
        "brier": float(brier_score_loss(y, scores)),
        "recall_at_1pct_fpr": recall_at_false_positive_rate(y, scores, FALSE_POSITIVE_LIMIT),
    }
