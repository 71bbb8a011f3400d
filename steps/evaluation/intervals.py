"""95 % confidence intervals of metrics.

Percentile bootstraps are too narrow when positives are few: with 74 of them they cover 76 %
instead of 95 % for KS, and 83 % for the area under the ROC curve. Hence:

ks                   Newcombe's interval for the difference of two proportions, true minus false
                     positive rate, at the threshold where KS is reached (1998, "Interval
                     estimation for the difference between independent proportions", method 10)
roc_auc              all values that the observed one does not reject, with the variance of
                     Hanley and McNeil at each (1982, "The Meaning and Use of the Area under a
                     ROC Curve"), as in Wilson's interval for a proportion
recall_at_1pct_fpr   Wilson's interval for a proportion
average_precision    on the logit scale, with the standard error from the influences of rows
log_loss, brier      the same on the log scale

The latter use quantiles of Student's t. A perfect average precision, on which no row has an
influence, gets Wilson's interval. Every interval contains its point estimate.
`python -m benchmarks.decisions intervals` simulates the coverage.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm, t
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from steps.evaluation.influence import influences
from steps.evaluation.metrics import (
    METRICS,
    Floats,
    Labels,
    ks_threshold,
    threshold_metrics,
)
from steps.evaluation.operating_points import OperatingPoints

CONFIDENCE = 0.95
Z = float(norm.ppf((1 + CONFIDENCE) / 2))
EPSILON = 1e-9
# Larger parts are no faster, and need a dozen temporary arrays of their size.
THRESHOLDS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Interval:
    """A confidence interval, of 95 % unless stated otherwise."""

    low: float
    high: float

    def with_value(self, value: float) -> Self:
        """Return this interval, extended to its point estimate where rounding put that outside."""
        return type(self)(min(self.low, value), max(self.high, value))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Estimate:
    """The metrics of a model on some rows with their intervals, computed on first use.

    Attributes:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
    """

    y: Labels
    scores: Floats

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All metrics by name."""
        return {name: self.value(name) for name in METRICS}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each metric."""
        return {name: self.interval(name) for name in self.metrics}

    def value(self, metric: str) -> float:
        """Return a metric."""
        if metric not in self._values:
            self._values[metric] = float(METRICS[metric](self.y, self.scores))
        return self._values[metric]

    @cached_property
    def _values(self) -> dict[str, float]:
        return {}

    def interval(self, metric: str, z: float = Z) -> Interval:
        """Return the interval of a metric.

        Args:
            metric: its name.
            z: the quantile of the standard normal distribution that belongs to the confidence.
        """
        value = self.value(metric)
        positives, negatives = int((self.y == 1).sum()), int((self.y == 0).sum())
        if metric == "ks":
            found = ks_interval(self.y, self.alerts_at_ks, z)
        elif metric == "roc_auc":
            found = auc_interval(value, positives, negatives, z)
        elif metric == "recall_at_1pct_fpr":
            found = proportion_interval(value, positives, z)
        elif metric == "average_precision":
            found = _logit_interval(value, self.standard_error(metric), positives, z)
        else:
            found = _log_interval(value, self.standard_error(metric), positives, z)
        return found.with_value(value)

    def upper_bound(self, metric: str, z: float) -> float:
        """Return an upper bound of a metric that also holds where z is far above 2."""
        if metric == "ks":
            return ks_upper_bound(self.y, self.scores, z)
        return self.interval(metric, z).high

    @property
    def with_bounds(self) -> dict[str, float]:
        """The metrics, with the ends of their intervals as NAME_low and NAME_high."""
        return self.metrics | bounds(self.intervals)

    @cached_property
    def alerts_at_ks(self) -> npt.NDArray[np.bool_]:
        """The rows labelled 1 where KS is reached, shape (n_rows,)."""
        return np.asarray(self.scores >= ks_threshold(self.y, self.scores))

    def standard_error(self, metric: str) -> float:
        """Return the standard error of a metric other than KS."""
        return float(np.linalg.norm(influences(metric, self.y, self.scores)))


def bounds(intervals: dict[str, Interval]) -> dict[str, float]:
    """Return the ends of `intervals` as NAME_low and NAME_high."""
    ends = {f"{name}_low": interval.low for name, interval in intervals.items()}
    return ends | {f"{name}_high": interval.high for name, interval in intervals.items()}


def threshold_metric_intervals(y: Labels, scores: Floats, threshold: float) -> dict[str, Interval]:
    """Return Wilson's interval of each of the `threshold_metrics`."""
    values = threshold_metrics(y, scores, threshold)
    trials = {"recall": (y == 1).sum(), "precision": (scores >= threshold).sum()}
    trials |= {"fpr": (y == 0).sum(), "alert_rate": len(y)}
    return {
        f"{name}_at_threshold": proportion_interval(values[f"{name}_at_threshold"], int(count))
        for name, count in trials.items()
    }


def ks_interval(y: Labels, alerts: npt.NDArray[np.bool_], z: float = Z) -> Interval:
    """Return Newcombe's interval for KS.

    Args:
        y: the labels, shape (n_rows,).
        alerts: the rows labelled 1 where KS is reached, shape (n_rows,).
        z: the quantile of the standard normal distribution that belongs to the confidence.
    """
    low, high = confint_proportions_2indep(
        int(alerts[y == 1].sum()), int((y == 1).sum()),
        int(alerts[y == 0].sum()), int((y == 0).sum()),
        method="newcomb", compare="diff", alpha=_alpha(z),
    )  # fmt: skip
    return Interval(float(low), float(high))


def ks_upper_bound(y: Labels, scores: Floats, z: float) -> float:
    """Return the highest upper bound of Newcombe's intervals at all thresholds.

    Where a true KS is reached lies among them, so it exceeds the bound no more often than the
    interval at one threshold allows; the interval where the observed KS is reached may be too low.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
        z: the quantile of the standard normal distribution that belongs to the confidence.
    """
    points = OperatingPoints.of(y, scores)
    positives, negatives = points.positives, points.rows - points.positives
    highest = []
    for start in range(0, len(points.thresholds), THRESHOLDS_AT_ONCE):
        part = slice(start, start + THRESHOLDS_AT_ONCE)
        true = points.true_positives[part]
        false = points.alerts[part] - true
        true_rate, false_rate = true / positives, false / negatives
        _, high = proportion_confint(true, positives, _alpha(z), "wilson")
        low, _ = proportion_confint(false, negatives, _alpha(z), "wilson")
        width = np.sqrt((high - true_rate) ** 2 + (false_rate - low) ** 2)
        highest.append((true_rate - false_rate + width).max())
    return float(np.max(highest))


def auc_interval(auc: float, positives: int, negatives: int, z: float = Z) -> Interval:
    """Return the areas within `z` of their standard errors (Hanley and McNeil) of `auc`."""

    def standard_error(area: float) -> float:
        two_positives, two_negatives = area / (2 - area), 2 * area**2 / (1 + area)
        variance = (
            area * (1 - area)
            + (positives - 1) * (two_positives - area**2)
            + (negatives - 1) * (two_negatives - area**2)
        ) / (positives * negatives)
        return float(np.sqrt(max(variance, 0.0)))

    def end(sign: int, first: float, last: float, otherwise: float) -> float:
        def distance(area: float) -> float:
            return area + sign * z * standard_error(area) - auc

        if distance(first) * distance(last) > 0:  # no area on this side is rejected
            return otherwise
        return float(brentq(distance, first, last))

    # The standard error vanishes at 0 and 1, which are spurious solutions.
    low = end(1, EPSILON, min(auc, 1 - EPSILON), otherwise=0.0)
    high = end(-1, max(auc, EPSILON), 1 - EPSILON, otherwise=1.0)
    return Interval(low, high)


def proportion_interval(proportion: float, trials: int, z: float = Z) -> Interval:
    """Return Wilson's interval (1927); [0, 1] without trials."""
    if not trials:
        return Interval(0.0, 1.0)
    low, high = proportion_confint(
        round(proportion * trials), trials, alpha=_alpha(z), method="wilson"
    )
    return Interval(float(low), float(high))


def _alpha(z: float) -> float:
    return 2 * float(norm.sf(z))


def _logit_interval(value: float, standard_error: float, positives: int, z: float) -> Interval:
    if not 0 < value < 1:  # no row has an influence, yet the value is not certain
        return proportion_interval(value, positives, z)
    error = _quantile(z, positives) * standard_error / (value * (1 - value))
    return Interval(float(expit(logit(value) - error)), float(expit(logit(value) + error)))


def _log_interval(value: float, standard_error: float, positives: int, z: float) -> Interval:
    if not value > 0:
        return Interval(value, value)
    error = _quantile(z, positives) * standard_error / value
    return Interval(value * float(np.exp(-error)), value * float(np.exp(error)))


def _quantile(z: float, positives: int) -> float:
    """Return the quantile of Student's t that has the confidence of `z`."""
    return float(t.isf(norm.sf(z), max(positives - 1, 1)))
