"""Profiles of columns: bins, drift between splits, and histograms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from serving.model.features import Feature
from steps.data_page.bins import TRAINING, Bin, as_numbers, as_text, column_bins
from steps.data_page.sample import SplitsSample
from steps.evaluation.intervals import Interval, proportion_interval
from steps.evaluation.metrics import Floats
from steps.monitoring.psi import bins_of, psi

HISTOGRAM_BINS, HISTOGRAM_QUANTILES = 30, (0.005, 0.995)
TIME_BINS = 25


@dataclass(frozen=True)
class Histogram:
    """The distribution of a number or date in each split, without its outermost hundredth.

    Attributes:
        low: where it starts.
        high: where it ends.
        shares: the share of the rows in each bin of equal width, by split.
    """

    low: str
    high: str
    shares: dict[str, list[float]]


@dataclass(frozen=True)
class ColumnProfile:
    """A feature as the page shows it.

    Attributes:
        name: its name.
        kind: its kind.
        missing: the share of missing values in the table.
        auc: the AUC of this feature alone in the training rows.
        bins: its bins.
        psi: the population stability index of each later split, by its name.
        histogram: its distribution; None if it has no order.
    """

    name: str
    kind: str
    missing: float
    auc: float
    bins: Sequence[Bin]
    psi: Mapping[str, float]
    histogram: Histogram | None = field(repr=False)

    @property
    def drift(self) -> float:
        """The largest PSI."""
        return max(self.psi.values())


@dataclass(frozen=True)
class Period:
    """Rows of neighbouring times.

    Attributes:
        time: the mean time, as a number.
        label: the first and last time.
        split: the split of most of its rows.
        rate: the share of class 1.
        interval: the 95 % interval of the rate.
    """

    time: float
    label: str
    split: str
    rate: float
    interval: Interval


def profile_column(feature: Feature, sample: SplitsSample) -> ColumnProfile:
    """Return the profile of one feature."""
    values = sample.column(feature)
    bins = bins_of(feature, values[TRAINING], feature.levels)
    column = next(c for c in sample.description.columns if c["name"] == feature.name)
    return ColumnProfile(
        name=feature.name,
        kind=feature.kind,
        missing=column["missing"],
        auc=column["auc"],
        bins=column_bins(feature, values, sample.y[TRAINING], bins),
        psi={
            name: psi(values[TRAINING], values[name], bins)
            for name in sample.names
            if name != TRAINING
        },
        histogram=_histogram(feature, values),
    )


def periods(sample: SplitsSample) -> list[Period]:
    """Return equally many rows of all splits in the order of time; empty without a time column."""
    if sample.times is None:
        return []
    is_time = any(times.dtype.kind == "M" for times in sample.times.values())
    times = np.concatenate([as_numbers(times) for times in sample.times.values()])
    y = np.concatenate([sample.y[name] for name in sample.names])
    split = np.repeat(np.arange(len(sample.names)), [len(sample.y[name]) for name in sample.names])
    found = []
    for rows in np.array_split(np.argsort(times, kind="stable"), min(TIME_BINS, len(times))):
        ends = [
            as_text(float(times[row]), is_time=is_time, has_time=is_time)
            for row in (rows[0], rows[-1])
        ]
        rate = float(y[rows].mean())
        found.append(
            Period(
                float(times[rows].mean()),
                " to ".join(dict.fromkeys(ends)),
                sample.names[int(np.bincount(split[rows]).argmax())],
                rate,
                proportion_interval(rate, len(rows)),
            )
        )
    return found


def _histogram(feature: Feature, values: "dict[str, pd.Series[Any]]") -> Histogram | None:
    if feature.kind not in ("number", "date"):
        return None
    numbers = {name: as_numbers(column) for name, column in values.items()}
    numbers = {name: column[~np.isnan(column)] for name, column in numbers.items()}
    if not len(numbers[TRAINING]):
        return None
    low, high = map(float, np.quantile(numbers[TRAINING], HISTOGRAM_QUANTILES))
    if low == high:
        return None
    is_time = feature.kind == "date"
    edges = 2 * np.linspace(low / 2, high / 2, HISTOGRAM_BINS + 1)  # the range may overflow
    return Histogram(
        as_text(low, is_time=is_time),
        as_text(high, is_time=is_time),
        {name: _shares(column, edges) for name, column in numbers.items()},
    )


def _shares(numbers: Floats, edges: Floats) -> list[float]:
    counts, _ = np.histogram(numbers, edges)
    shares: list[float] = (counts / max(len(numbers), 1)).tolist()
    return shares
