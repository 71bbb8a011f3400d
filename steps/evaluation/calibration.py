"""Calibration: how far scores are from the observed shares of class 1."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from steps.evaluation.intervals import proportion_interval
from steps.evaluation.metrics import Floats, Labels

MAX_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Bins of rows by score, each attribute of shape (n_bins,).

    Attributes:
        rows: The number of rows.
        predicted: The mean score.
        observed: The share of class 1.
        low: The lower end of the 95 % interval of this share (Wilson).
        high: The upper end.
    """

    rows: Floats
    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats

    @property
    def calibration_error(self) -> float:
        """The expected calibration error: the mean distance of share and score, weighted by rows.

        Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
        """
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.rows))


def reliability(y: Labels, scores: Floats) -> Reliability:
    """Return up to ten bins that hold equally many positives, apart from ties.

    Where positives are rare, bins of equal width or row count would hold none.

    Args:
        y: The labels, at least one of them 1, shape (n_rows,).
        scores: Probabilities of class 1, shape (n_rows,).
    """
    bins = min(MAX_BINS, int(y.sum()))
    edges = np.quantile(scores[y == 1], np.linspace(0, 1, bins + 1)[1:-1])
    numbers = np.searchsorted(edges, scores, side="right")
    groups = pd.DataFrame({"bin": numbers, "y": y, "score": scores}).groupby("bin")
    rows = groups.size().to_numpy()
    means = groups.mean()
    observed = means["y"].to_numpy()
    intervals = [
        proportion_interval(share, n) for share, n in zip(observed, rows.tolist(), strict=True)
    ]
    return Reliability(
        rows.astype(np.float64),
        means["score"].to_numpy(),
        observed,
        np.array([interval.low for interval in intervals]),
        np.array([interval.high for interval in intervals]),
    )
