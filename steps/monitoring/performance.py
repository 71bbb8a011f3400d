"""How good the champion is on predictions whose outcome is known by now."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from steps.monitoring.window import MOST_PERIODS
from steps.pipeline.evaluation import FEWEST_ROWS_OF_A_CLASS, Floats, Labels, at_threshold
from steps.pipeline.intervals import (
    Estimate,
    Interval,
    at_threshold_intervals,
    bounds,
    proportion_interval,
)

FEWEST = FEWEST_ROWS_OF_A_CLASS["test"]
# Fewer would leave intervals that say nothing.
POSITIVES_IN_PERIOD = 15


@dataclass(frozen=True)
class Performance:
    """The live metrics of one version, each with a 95 % interval.

    Attributes:
        metric: the one that decides.
        metrics: by name; `calibration` is how many positives there were for each expected one,
            and absent if none was expected.
        intervals: by the same names.
        floor: the value of `metric` below which the version counts as degraded.
        coverage: share of its predictions whose outcome is known.
        delay_hours: from prediction to observation: median and 90th percentile.
        periods: `metric` with its ends (columns value, low, high); each row is named by the time
            of the period's first prediction, and the periods hold equally many positives.
    """

    metric: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    floor: float | None
    coverage: float
    delay_hours: tuple[float, float]
    periods: pd.DataFrame

    @property
    def degraded(self) -> bool:
        """Whether the metric is below the floor."""
        return self.floor is not None and self.metrics[self.metric] < self.floor

    @property
    def logged(self) -> dict[str, float]:
        """What is logged, by name."""
        found = {f"live_{name}": value for name, value in self.metrics.items()}
        found |= {f"live_{name}": value for name, value in bounds(self.intervals).items()}
        median, late = self.delay_hours
        return found | {
            "label_coverage": self.coverage,
            "label_delay_hours": median,
            "label_delay_hours_p90": late,
        }

    def __str__(self) -> str:
        interval = self.intervals[self.metric]
        text = f"live {self.metric} {self.metrics[self.metric]:.3f} "
        text += f"({interval.low:.3f} to {interval.high:.3f})"
        if self.floor is None:
            return f"{text}; the test of this version left no floor to compare with"
        relation = "below" if self.degraded else "not below"
        return f"{text}, {relation} the floor of {self.floor:.3f}"


def measure_performance(
    labelled: pd.DataFrame, predictions: int, metric: str, floor: float | None
) -> Performance | str:
    """Measure the rows whose outcome is known, or say why that cannot be.

    Args:
        labelled: rows of one version, as in `window.Window`.
        predictions: how many it made, labelled or not.
        metric: the champion metric.
        floor: the value below which it counts as degraded; None if there is none.
    """
    y, scores = labelled["label"].to_numpy(np.int64), labelled["score"].to_numpy(np.float64)
    positives, negatives = int((y == 1).sum()), int((y == 0).sum())
    if min(positives, negatives) < FEWEST:
        return (
            f"{len(y)} labels of this version, {positives} of 1 and {negatives} of 0; "
            f"{FEWEST} of each are needed"
        )
    estimate, threshold = Estimate(y, scores), float(labelled["threshold"].iloc[-1])
    calibration, calibration_interval = _calibration(y, scores)
    delay = (labelled["observed_at"] - labelled["created_at"]).dt.total_seconds() / 3600
    return Performance(
        metric=metric,
        metrics=estimate.metrics | at_threshold(y, scores, threshold) | calibration,
        intervals=estimate.intervals
        | at_threshold_intervals(y, scores, threshold)
        | calibration_interval,
        floor=floor,
        coverage=len(y) / max(predictions, 1),
        delay_hours=(float(delay.median()), float(delay.quantile(0.9))),
        periods=_periods(labelled, metric),
    )


def _calibration(y: Labels, scores: Floats) -> tuple[dict[str, float], dict[str, Interval]]:
    expected, observed = float(scores.mean()), float(y.mean())
    if expected == 0:
        return {}, {}
    share = proportion_interval(observed, len(y))
    interval = Interval(share.low / expected, share.high / expected)
    return {"calibration": observed / expected}, {"calibration": interval}


def _periods(labelled: pd.DataFrame, metric: str) -> pd.DataFrame:
    labelled = labelled.reset_index(drop=True)
    positive = np.flatnonzero(labelled["label"] == 1)
    count = int(np.clip(len(positive) // POSITIVES_IN_PERIOD, 1, MOST_PERIODS))
    starts = [0, *(part[0] for part in np.array_split(positive, count)[1:])]
    found, moments = [], []
    for start, end in zip(starts, [*starts[1:], len(labelled)], strict=True):
        rows = labelled.iloc[start:end]
        y, scores = rows["label"].to_numpy(np.int64), rows["score"].to_numpy(np.float64)
        if min((y == 1).sum(), (y == 0).sum()) < FEWEST:
            continue
        estimate = Estimate(y, scores)
        interval = estimate.intervals[metric]
        value = estimate.metrics[metric]
        found.append({"value": value, "low": interval.low, "high": interval.high})
        moments.append(rows["created_at"].iloc[0])
    return pd.DataFrame(found, index=moments, columns=["value", "low", "high"])
