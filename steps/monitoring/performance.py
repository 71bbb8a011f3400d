"""Live performance of the champion on predictions with ground truth."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from steps.evaluation.intervals import (
    Estimate,
    Interval,
    bounds,
    proportion_interval,
    threshold_metric_intervals,
)
from steps.evaluation.metrics import MIN_ROWS_PER_CLASS, Floats, Labels, threshold_metrics
from steps.monitoring.degradation import LOOKS_Z, is_degraded
from steps.monitoring.window import MAX_PERIODS

MIN_LABELS_PER_CLASS = MIN_ROWS_PER_CLASS["test"]
# With fewer, the intervals are too wide to be useful.
MIN_POSITIVES_PER_PERIOD = 15


@dataclass(frozen=True)
class Performance:
    """Live metrics of one version, each with a 95 % interval.

    Attributes:
        metric: name of the champion metric.
        metrics: values by name. `calibration` is the ratio of observed to expected positives,
            and absent if none were expected.
        intervals: intervals by the same names.
        upper_bound: bound of `metric` that must be below the floor for an alarm (see
            `steps.monitoring.degradation`).
        floor: value of `metric` below which the version is degraded; None if unknown.
        coverage_bias: how labels cover scores unequally, in words; empty if they do not.
        coverage: share of the version's predictions that have a true label.
        delay_hours: median and 90th percentile of the hours from prediction to observation.
        periods: value and interval of `metric` (columns value, low, high) by period, each named
            by the time of its first prediction; periods have equally many positives.
    """

    metric: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    upper_bound: float
    floor: float | None
    coverage_bias: str
    coverage: float
    delay_hours: tuple[float, float]
    periods: pd.DataFrame

    @property
    def degraded(self) -> bool:
        """True if the champion metric is below the floor, beyond chance and without bias."""
        below = self.floor is not None and is_degraded(self.upper_bound, self.floor)
        return below and not self.coverage_bias

    @property
    def logged_metrics(self) -> dict[str, float]:
        """MLflow metrics, by name."""
        values = self.metrics | bounds(self.intervals)
        median, late = self.delay_hours
        return {f"live_{name}": value for name, value in values.items()} | {
            "label_coverage": self.coverage,
            "label_delay_hours": median,
            "label_delay_hours_p90": late,
        }

    def __str__(self) -> str:
        interval = self.intervals[self.metric]
        text = f"live {self.metric} {self.metrics[self.metric]:.3f} "
        text += f"({interval.low:.3f} to {interval.high:.3f})"
        if self.coverage_bias:
            return f"{text}, biased and no reason for an alarm: {self.coverage_bias}"
        if self.floor is None:
            return f"{text}; no floor: the test metrics of this version are unavailable"
        relation = "below" if self.degraded else "not below"
        return (
            f"{text}, {relation} the floor of {self.floor:.3f} (upper bound, corrected for "
            f"repeated looks: {self.upper_bound:.3f})"
        )


def measure_performance(
    labelled: pd.DataFrame,
    predictions: int,
    metric: str,
    floor: float | None,
    coverage_bias: str = "",
) -> Performance | str:
    """Measure the predictions that have a true label.

    Args:
        labelled: predictions of one version, with the columns of `Window.labelled`.
        predictions: number of all predictions of that version.
        metric: name of the champion metric.
        floor: value below which the version is degraded; None if unknown.
        coverage_bias: how labels cover scores unequally, in words; empty if they do not.

    Returns:
        The performance, or the reason why it cannot be measured.
    """
    # scikit-learn sorts the labels for most metrics: bytes take a tenth of the time of integers.
    y, scores = labelled["true_label"].to_numpy(np.int8), labelled["score"].to_numpy(np.float64)
    positives, negatives = int((y == 1).sum()), int((y == 0).sum())
    if min(positives, negatives) < MIN_LABELS_PER_CLASS:
        return (
            f"{len(y)} true labels for this version ({positives} positive, {negatives} negative); "
            f"at least {MIN_LABELS_PER_CLASS} of each class are required"
        )
    estimate, threshold = Estimate(y, scores), float(labelled["threshold"].iloc[-1])
    ratio, ratio_interval = calibration(y, scores)
    delay = (labelled["observed_at"] - labelled["created_at"]).dt.total_seconds() / 3600
    return Performance(
        metric=metric,
        metrics=estimate.metrics | threshold_metrics(y, scores, threshold) | ratio,
        intervals=estimate.intervals
        | threshold_metric_intervals(y, scores, threshold)
        | ratio_interval,
        upper_bound=estimate.upper_bound(metric, LOOKS_Z),
        floor=floor,
        coverage_bias=coverage_bias,
        coverage=len(y) / max(predictions, 1),
        delay_hours=(float(delay.median()), float(delay.quantile(0.9))),
        periods=_metric_by_period(labelled, metric),
    )


def calibration(y: Labels, scores: Floats) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return the ratio of observed to expected positives and its interval; none if none expected.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
    """
    expected, observed = float(scores.mean()), float(y.mean())
    if expected == 0:
        return {}, {}
    share = proportion_interval(observed, len(y))
    interval = Interval(share.low / expected, share.high / expected)
    return {"calibration": observed / expected}, {"calibration": interval}


def _metric_by_period(labelled: pd.DataFrame, metric: str) -> pd.DataFrame:
    positives = np.flatnonzero(labelled["true_label"] == 1)
    count = int(np.clip(len(positives) // MIN_POSITIVES_PER_PERIOD, 1, MAX_PERIODS))
    starts = [0, *(part[0] for part in np.array_split(positives, count)[1:])]
    values, times = [], []
    for start, end in zip(starts, [*starts[1:], len(labelled)], strict=True):
        rows = labelled.iloc[start:end]
        y, scores = rows["true_label"].to_numpy(np.int8), rows["score"].to_numpy(np.float64)
        if min((y == 1).sum(), (y == 0).sum()) < MIN_LABELS_PER_CLASS:
            continue
        estimate = Estimate(y, scores)
        interval = estimate.interval(metric)
        value = estimate.value(metric)
        values.append({"value": value, "low": interval.low, "high": interval.high})
        times.append(rows["created_at"].iloc[0])
    return pd.DataFrame(values, index=times, columns=["value", "low", "high"])
