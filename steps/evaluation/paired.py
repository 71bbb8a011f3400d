"""The paired difference of a metric between two models on the same rows.

The difference of two KS is one of paired proportions, in either class. Each class has Tango's
score interval (1998, "Equivalence test and confidence interval for the difference in proportions
for the paired-sample design"); both are combined by the square-and-add method (Zou and Donner
2008, "Construction of confidence limits about effect measures").

For the other metrics, the variances and the covariance of the two models are those of the
influences of rows. With few positives, the covariance is too high: rare rows that the models rank
very differently may be missing in the sample. Hence the two models are taken to agree less, as if
four more positives that they rank independently had been seen, as Agresti and Coull add four
trials to a proportion (1998, "Approximate Is Better than 'Exact' for Interval Estimation of
Binomial Proportions"). Quantiles are those of Student's t with one degree of freedom less than
there are positives.

The one-sided lower bound, which promotion on newer rows depends on, inverts a score test: the
variance is that of a true difference at the bound. Let d be the distance from the observed
difference to the bound. The difference is d lower if a share 2 d of the positives is found by the
second model only: the first ranks them at random, a loss of 0.5 each. That adds 2 d * 0.5^2 for
each positive, or 0.5 d / positives, to the variance.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from scipy.stats import norm, t

from steps.evaluation.influence import influences
from steps.evaluation.intervals import CONFIDENCE, Estimate, Interval, Z
from steps.evaluation.metrics import Floats

ONE_SIDED_Z = float(norm.ppf(CONFIDENCE))
BISECTIONS = 40
INDEPENDENT = 4
UNSEEN_LOSS = 0.5


@dataclass(frozen=True)
class PairedDifference:
    """A metric of one model minus that of another on the same rows.

    Attributes:
        value: the difference.
        interval: its 95 % interval.
        lower_bound: its one-sided 95 % lower bound.
        positives: number of positive rows that it was measured on.
    """

    value: float
    interval: Interval
    lower_bound: float
    positives: int

    def positives_missing(self, margin: float) -> int:
        """Return about how many more positives would put the lower bound above `-margin`.

        The distance of the bound falls with the root of the number of positives. A difference
        below `-margin` cannot be put above it: 0.
        """
        if self.value <= -margin:
            return 0
        distance = (self.value - self.lower_bound) / (self.value + margin)
        return max(ceil(self.positives * distance**2) - self.positives, 0)


def paired_difference(first: Estimate, second: Estimate, metric: str) -> PairedDifference:
    """Return `metric` of `first` minus that of `second`, on the same rows."""
    value = first.value(metric) - second.value(metric)
    positives = int((first.y == 1).sum())
    if metric == "ks":
        cells = _discordant(first, second)
        low, bound = (value - ks_difference_width(*cells, z) for z in (Z, ONE_SIDED_Z))
        high = value + ks_difference_width(*_swapped(cells), Z)
        return PairedDifference(value, Interval(float(low), float(high)), float(bound), positives)
    error = _standard_error(first, second, metric, positives)
    width = error * float(t.ppf((1 + CONFIDENCE) / 2, positives - 1))
    bound = value - _score_distance(error, t.ppf(CONFIDENCE, positives - 1), positives)
    return PairedDifference(value, Interval(value - width, value + width), bound, positives)


def _standard_error(first: Estimate, second: Estimate, metric: str, positives: int) -> float:
    """Return the standard error of the difference of a metric other than KS."""
    ours, theirs = (influences(metric, model.y, model.scores) for model in (first, second))
    doubted = max(float(ours @ theirs), 0.0) * INDEPENDENT / (positives + INDEPENDENT)
    return sqrt(float(((ours - theirs) ** 2).sum()) + 2 * doubted)


def _score_distance(error: float, quantile: float, positives: int) -> float:
    """Return the distance to the lower bound, with the variance if the difference were there."""
    unseen = quantile**2 * UNSEEN_LOSS / positives
    return (unseen + sqrt(unseen**2 + (2 * quantile * error) ** 2)) / 2


@dataclass(frozen=True)
class Discordant:
    """The rows of one class that two models label differently, as counts of any equal shape.

    Attributes:
        only_first: rows that only the first model labels 1.
        only_second: rows that only the second model labels 1.
        rows: all rows of the class.
    """

    only_first: Any
    only_second: Any
    rows: int

    @property
    def difference(self) -> Any:
        """Share of rows that the first model labels 1, minus that of the second."""
        return (self.only_first - self.only_second) / self.rows

    @property
    def swapped(self) -> "Discordant":
        """The same with the models swapped."""
        return Discordant(self.only_second, self.only_first, self.rows)


def ks_difference_width(positives: Discordant, negatives: Discordant, z: float) -> Any:
    """Return the distance from the difference of two KS down to its lower bound.

    Args:
        positives: positive rows that the two models label differently, each where its KS is
            reached.
        negatives: the same of negative rows.
        z: the quantile of the standard normal distribution that belongs to the confidence.
    """
    down = positives.difference - tango_lower_bound(positives, z)
    up = negatives.swapped.difference - tango_lower_bound(negatives.swapped, z)
    return np.sqrt(down**2 + up**2)


def tango_lower_bound(rows: Discordant, z: float) -> Floats:
    """Return the lower bound of the difference of two paired proportions, found by bisection."""
    first, second, n = np.asarray(rows.only_first, float), rows.only_second, rows.rows
    low, high = np.full(first.shape, -1.0), np.asarray(rows.difference, float)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        linear = (2 * n - first + second) * middle - first - second
        constant = -second * middle * (1 - middle)
        root = np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0))
        variance = n * ((root - linear) / (2 * n) + middle * (1 - middle))
        rejected = first - second - n * middle > z * np.sqrt(np.maximum(variance, 0))
        low, high = np.where(rejected, middle, low), np.where(rejected, high, middle)
    return np.asarray((low + high) / 2)


def _discordant(first: Estimate, second: Estimate) -> tuple[Discordant, Discordant]:
    ours, theirs = first.alerts_at_ks, second.alerts_at_ks

    def of(label: int) -> Discordant:
        rows = first.y == label
        return Discordant(
            float((ours & ~theirs)[rows].sum()),
            float((theirs & ~ours)[rows].sum()),
            int(rows.sum()),
        )

    return of(1), of(0)


def _swapped(cells: tuple[Discordant, Discordant]) -> tuple[Discordant, Discordant]:
    positives, negatives = cells
    return positives.swapped, negatives.swapped
