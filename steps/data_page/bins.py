"""Bins of a column: ranges of numbers and dates, levels of categories and booleans."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from serving.model.features import Feature, Floats
from serving.model.preparation import MICROSECONDS
from serving.model.values import date_text
from steps.data.feature_frames import in_seconds
from steps.evaluation.intervals import Interval, proportion_interval
from steps.evaluation.metrics import Labels
from steps.monitoring.psi import FALSE_AND_TRUE, Bins, Indices

TRAINING = "training"
# More levels would not be legible; rarer ones are pooled.
MAX_LEVELS = 10
MISSING, UNSEEN = "missing", "not in training"
MICROSECONDS_PER_DAY = 86_400_000_000
# Up to here numbers have all digits: milliseconds since 1970 are told apart.
LONGEST_NUMBER = 1e13
MIN_DIGITS, MAX_DIGITS = 3, 8
# Of dates that span more days, the time of day is not shown.
MAX_DAYS_WITH_TIME = 3


@dataclass(frozen=True)
class Bin:
    """Rows whose value of a column is alike.

    Attributes:
        label: the values.
        shares: the share of the rows of each split.
        rows: the number of rows of the training split.
        positives: the number of those of class 1.
    """

    label: str
    shares: dict[str, float]
    rows: int
    positives: int

    @property
    def rate(self) -> float | None:
        """The share of class 1 in the training rows; None if there are none."""
        return self.positives / self.rows if self.rows else None

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the rate."""
        return proportion_interval(self.rate or 0.0, self.rows)


def column_bins(
    feature: Feature, values: "dict[str, pd.Series[Any]]", y: Labels, bins: Bins
) -> list[Bin]:
    """Return the bins of a column that have rows, as the page shows them.

    Args:
        feature: the column.
        values: its typed values in each split.
        y: the target of the training rows, shape (n_rows,).
        bins: the bins that its drift is measured in; levels of categories are shown one by one.
    """
    if feature.kind == "category":
        labels, codes = _levels(feature, values)
    else:
        codes = {name: bins.indices(column) for name, column in values.items()}
        labels = _labels(feature, values, codes)
    # Missing values come last.
    counts = {
        name: np.bincount(of % len(labels), minlength=len(labels)) for name, of in codes.items()
    }
    positives = np.bincount(codes[TRAINING] % len(labels), weights=y, minlength=len(labels))
    return [
        Bin(
            label,
            {name: count[place] / max(len(codes[name]), 1) for name, count in counts.items()},
            int(counts[TRAINING][place]),
            int(positives[place]),
        )
        for place, label in enumerate(labels)
        if any(count[place] for count in counts.values())
    ]


def as_numbers(values: "pd.Series[Any]") -> Floats:
    """Return numbers, or times in microseconds since 1970, NaN where missing, shape (n_rows,)."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return in_seconds(values).to_numpy() * MICROSECONDS
    return values.to_numpy(np.float64)


def as_text(
    value: float, *, is_time: bool, has_time: bool = False, digits: int = MIN_DIGITS
) -> str:
    """Return a time, or a number with so many significant digits, for people."""
    if is_time:
        text = date_text(value, has_time)
        return text.replace("T", " ")[:16] if has_time else text[:10]
    if value.is_integer() or abs(value) >= 10**digits:
        return f"{value:,.0f}" if abs(value) < LONGEST_NUMBER else f"{value:.{digits}g}"
    return f"{float(f'{value:.{digits}g}'):,.{digits + 1}g}"


def _levels(
    feature: Feature, values: "dict[str, pd.Series[Any]]"
) -> tuple[list[str], dict[str, Indices]]:
    """Return the labels of the most frequent levels and of the others, and their codes."""
    shown = feature.levels[:MAX_LEVELS]
    # The feature lists the most frequent levels only.
    known = dict.fromkeys([*feature.levels, *values[TRAINING].cat.categories])
    pooled = list(known)[len(shown) :]
    code_of = {level: code for code, level in enumerate(shown)}
    code_of |= dict.fromkeys(pooled, len(shown))
    codes = {}
    for name, column in values.items():
        table = [code_of.get(level, len(shown) + 1) for level in column.cat.categories]
        codes[name] = np.array([*table, -1], np.int64)[column.cat.codes.to_numpy()]
    others = f"{len(pooled):,} other level{'s'[: len(pooled) > 1]}"
    return [*shown, others, UNSEEN, MISSING], codes


def _labels(
    feature: Feature, values: "dict[str, pd.Series[Any]]", codes: dict[str, Indices]
) -> list[str]:
    """Return the words of a boolean, or the least and the greatest value of each bin."""
    if feature.kind == "boolean":
        return [*(feature.levels or FALSE_AND_TRUE), MISSING]
    numbers = np.concatenate([as_numbers(column) for column in values.values()])
    ends = _ends(numbers, np.concatenate([*codes.values()]))
    last = max(ends, default=-1)
    span = ends[last][1] - ends[min(ends)][0] if ends else 0.0
    has_time = feature.has_time and span < MAX_DAYS_WITH_TIME * MICROSECONDS_PER_DAY
    digits = _digits([low for low, _ in ends.values()])
    labels = []
    for code in range(last + 1):
        texts = [
            as_text(end, is_time=feature.kind == "date", has_time=has_time, digits=digits)
            for end in ends.get(code, ())
        ]
        labels.append(" to ".join(dict.fromkeys(texts)))
    return [*labels, MISSING]


def _digits(numbers: list[float]) -> int:
    """Return the significant digits that tell numbers apart, such as degrees of longitude."""
    counts = range(MIN_DIGITS, MAX_DIGITS)
    told_apart = (n for n in counts if len({f"{x:.{n}g}" for x in numbers}) == len(numbers))
    return next(told_apart, MAX_DIGITS)


def _ends(numbers: Floats, codes: Indices) -> dict[int, tuple[float, float]]:
    """Return the least and the greatest number with each code; missing ones have none."""
    found = pd.Series(numbers).groupby(codes).agg(["min", "max"]).dropna()
    return {int(code): (float(low), float(high)) for code, low, high in found.itertuples()}
