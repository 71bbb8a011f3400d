"""How sure a metric is: 95 % intervals, and whether two models differ on the same rows.

With few positives the usual ways are too sure of themselves: with 74 of them the percentiles of
a bootstrap cover 76 % instead of 95 % for KS, and 83 % for the area under the ROC curve. So:

ks                   the difference of two proportions, true minus false positive rate, at the
                     threshold where it is reached: Newcombe's interval (1998, "Interval
                     estimation for the difference between independent proportions", method 10)
roc_auc              all values that the observed one does not reject, with the variance of
                     Hanley and McNeil at each (1982, "The Meaning and Use of the Area under a
                     ROC Curve"), as Wilson's interval does it for a proportion
recall_at_1pct_fpr   Wilson's interval for a proportion
the others           normal on the logit or log scale, with a bootstrap's standard error

A perfect average precision, of which no replicate differs, has Wilson's. All of them contain their
point. tests/test_intervals.py simulates what they cover.

The bootstrap is stratified by class, and its draws depend on the number of rows alone. Two models
scored on the same rows are drawn alike, so the difference of their replicates is a replicate of
their difference: its standard error gives the interval of the difference (Efron and Tibshirani
1993, "An Introduction to the Bootstrap", chapter 13). That of KS is again one of proportions, now
paired: Wald's with half a row added to each cell (Agresti and Min 2005, "Simple improved
confidence intervals for comparing matched proportions").
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from steps.pipeline.evaluation import (
    FALSE_POSITIVE_LIMIT,
    Floats,
    Labels,
    at_threshold,
    evaluate,
    ks_threshold,
    row_losses,
)

CONFIDENCE = 0.95
REPLICATES = 1000
Z = float(norm.ppf((1 + CONFIDENCE) / 2))
NEXT_TO = 1e-9  # 0, and below 1


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    def with_value(self, value: float) -> Self:
        """Return this interval with its point, which rounding may have put beside an end."""
        return type(self)(min(self.low, value), max(self.high, value))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class Estimate:
    """The metrics of a model on some rows, and how sure they are. Each part is made when used.

    Attributes:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
        n_replicates: of the bootstrap.
    """

    y: Labels
    scores: Floats
    n_replicates: int = REPLICATES

    @cached_property
    def metrics(self) -> dict[str, float]:
        """All metrics by name."""
        return evaluate(self.y, self.scores)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The interval of each metric."""
        metrics, drawn = self.metrics, self.replicates
        positives, negatives = int((self.y == 1).sum()), int((self.y == 0).sum())
        recall, precision = metrics["recall_at_1pct_fpr"], metrics["average_precision"]
        found = {
            "ks": ks_interval(self.y, self.labelled),
            "roc_auc": auc_interval(metrics["roc_auc"], positives, negatives),
            "average_precision": _on_logit_scale(precision, drawn["average_precision"], positives),
            "log_loss": _on_log_scale(metrics["log_loss"], drawn["log_loss"]),
            "brier": _on_log_scale(metrics["brier"], drawn["brier"]),
            "recall_at_1pct_fpr": proportion_interval(recall, positives),
        }
        return {name: interval.with_value(metrics[name]) for name, interval in found.items()}

    @property
    def with_bounds(self) -> dict[str, float]:
        """The metrics and, as NAME_low and NAME_high, the ends of their intervals."""
        return self.metrics | bounds(self.intervals)

    @cached_property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """The labels at the threshold of KS; of a model that ranks backwards, turned round."""
        both = [turned >= ks_threshold(self.y, turned) for turned in (self.scores, -self.scores)]
        return max(both, key=lambda each: each[self.y == 1].mean() - each[self.y == 0].mean())

    @cached_property
    def replicates(self) -> dict[str, Floats]:
        """The bootstrap's values of each metric but KS."""
        return bootstrap(self.y, self.scores, self.n_replicates)


def bounds(intervals: dict[str, Interval]) -> dict[str, float]:
    """Return the ends of `intervals` as NAME_low and NAME_high."""
    ends = {f"{name}_low": interval.low for name, interval in intervals.items()}
    return ends | {f"{name}_high": interval.high for name, interval in intervals.items()}


def at_threshold_intervals(y: Labels, scores: Floats, threshold: float) -> dict[str, Interval]:
    """Return Wilson's intervals of what `evaluation.at_threshold` gives."""
    values = at_threshold(y, scores, threshold)
    trials = {"recall": (y == 1).sum(), "precision": (scores >= threshold).sum()}
    trials["fpr"] = (y == 0).sum()
    return {
        f"{name}_at_threshold": proportion_interval(values[f"{name}_at_threshold"], int(count))
        for name, count in trials.items()
    }


def difference(first: Estimate, second: Estimate, metric: str) -> tuple[float, Interval]:
    """Return by how much `metric` of `first` exceeds that of `second`, both on the same rows."""
    if metric == "ks":
        error = _ks_difference_error(first, second)
    else:
        error = float((first.replicates[metric] - second.replicates[metric]).std())
    value = first.metrics[metric] - second.metrics[metric]
    return value, Interval(value - Z * error, value + Z * error)


def ks_interval(y: Labels, labelled: npt.NDArray[np.bool_]) -> Interval:
    """Return Newcombe's interval for KS, from the labels at the threshold where it is reached."""
    low, high = confint_proportions_2indep(
        int(labelled[y == 1].sum()), int((y == 1).sum()),
        int(labelled[y == 0].sum()), int((y == 0).sum()),
        method="newcomb", compare="diff", alpha=1 - CONFIDENCE,
    )  # fmt: skip
    return Interval(float(low), float(high))


def _ks_difference_error(first: Estimate, second: Estimate) -> float:
    """Return the standard error of the difference of two KS on the same rows."""
    variance = 0.0
    for label in (0, 1):
        rows = first.y == label
        only_first = float((first.labelled & ~second.labelled)[rows].sum()) + 0.5
        only_second = float((second.labelled & ~first.labelled)[rows].sum()) + 0.5
        count = float(rows.sum()) + 2
        variance += (only_first + only_second) / count**2
        variance -= (only_first - only_second) ** 2 / count**3
    return float(np.sqrt(variance))


def auc_interval(auc: float, positives: int, negatives: int) -> Interval:
    """Return the areas from which `auc` is at most 1.96 standard errors away."""

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
            return area + sign * Z * standard_error(area) - auc

        if distance(first) * distance(last) > 0:  # the errors leave no area on this side
            return otherwise
        return float(brentq(distance, first, last))

    # At 0 and 1 there is no error, so that each solves this; the end that is wanted lies between.
    low = end(1, NEXT_TO, min(auc, 1 - NEXT_TO), otherwise=0.0)
    high = end(-1, max(auc, NEXT_TO), 1 - NEXT_TO, otherwise=1.0)
    return Interval(low, high)


def proportion_interval(proportion: float, trials: int) -> Interval:
    """Return Wilson's interval (1927); the whole range if nothing was tried."""
    if not trials:
        return Interval(0.0, 1.0)
    low, high = proportion_confint(
        round(proportion * trials), trials, alpha=1 - CONFIDENCE, method="wilson"
    )
    return Interval(float(low), float(high))


def _on_logit_scale(value: float, replicates: Floats, positives: int) -> Interval:
    if not 0 < value < 1:  # no replicate differs, which does not make it sure
        return proportion_interval(value, positives)
    error = Z * float(replicates.std()) / (value * (1 - value))
    return Interval(float(expit(logit(value) - error)), float(expit(logit(value) + error)))


def _on_log_scale(value: float, replicates: Floats) -> Interval:
    if not value > 0:
        return Interval(value, value)
    error = Z * float(replicates.std()) / value
    return Interval(value * float(np.exp(-error)), value * float(np.exp(error)))


def bootstrap(y: Labels, scores: Floats, n_replicates: int) -> dict[str, Floats]:
    """Return `n_replicates` values of each metric but KS, on rows drawn anew within each class.

    Ranks change only at the scores of positives, so rows are counted in groups and not sorted
    again: a group for each distinct score of a positive, and one for what lies between two.
    """
    group = _groups(y, scores)
    classes = [_OneClass.of(y == label, group, row_losses(y, scores)) for label in (0, 1)]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(n_replicates):
        (false, losses_of_0), (true, losses_of_1) = (one.draw(random) for one in classes)
        metrics = _ranking(np.cumsum(true), np.cumsum(false))
        metrics |= {name: (loss + losses_of_1[name]) / len(y) for name, loss in losses_of_0.items()}
        drawn.append(metrics)
    return {name: np.array([metrics[name] for metrics in drawn]) for name in drawn[0]}


@dataclass(frozen=True)
class _OneClass:
    """The rows of one class: their groups, and what each row adds to the losses."""

    group: npt.NDArray[np.intp]
    groups: int
    losses: dict[str, Floats]

    @classmethod
    def of(cls, rows: Any, group: npt.NDArray[np.intp], losses: dict[str, Floats]) -> Self:
        return cls(group[rows], int(group.max()) + 1, {n: loss[rows] for n, loss in losses.items()})

    def draw(self, random: np.random.Generator) -> tuple[npt.NDArray[np.intp], dict[str, float]]:
        """Draw as many rows as there are; return the count of each group and the losses."""
        rows = random.integers(len(self.group), size=len(self.group), dtype=np.uint32)
        counts = np.bincount(self.group[rows], minlength=self.groups)
        return counts, {name: float(loss[rows].sum()) for name, loss in self.losses.items()}


def _groups(y: Labels, scores: Floats) -> npt.NDArray[np.intp]:
    """Return the group of each row, counted from the highest score."""
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    distinct = np.cumsum(np.r_[True, descending[1:] != descending[:-1]]) - 1
    positive = np.bincount(distinct, weights=y[order]) > 0
    # Neighbours without a positive belong together.
    merged = np.cumsum(np.r_[True, positive[1:] | positive[:-1]]) - 1
    group = np.empty(len(y), dtype=np.intp)
    group[order] = merged[distinct]
    return group


def _ranking(true: Any, false: Any) -> dict[str, float]:
    """Return the metrics of ranks from the cumulated counts of positives and negatives."""
    positives, negatives = true[-1], false[-1]
    new_true, new_false = np.diff(true, prepend=0), np.diff(false, prepend=0)
    precision = true / np.maximum(true + false, 1)
    return {
        "roc_auc": float(new_false @ (true - new_true / 2) / positives / negatives),
        "average_precision": float(new_true @ precision / positives),
        "recall_at_1pct_fpr": float(
            true[false <= FALSE_POSITIVE_LIMIT * negatives].max(initial=0) / positives
        ),
    }
