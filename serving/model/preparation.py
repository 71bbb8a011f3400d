"""The preparation: from rows of features to the matrix that a model takes.

It is data, not code: for each feature, the columns of the matrix and the tables that lead to them.
Training and serving apply it with the same function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from serving.model.features import Feature, FeatureRows, Floats
from serving.model.values import Texts

DatePart = Literal["seconds", "year", "month", "day", "weekday", "hour"]
Finite = Annotated[float, Field(allow_inf_nan=False)]

# Fewer rows are prepared one by one, which is faster than any operation on whole columns.
FEW_ROWS = 8
MICROSECONDS = 1e6
SECONDS_PER_HOUR, HOURS_PER_DAY = 3600, 24
MONDAY = 3  # 1 January 1970 was a Thursday


@dataclass(frozen=True)
class Encoding:
    """The columns that a feature becomes.

    A number or a boolean becomes itself. A date becomes its `parts`. A category becomes the row of
    `levels` for its text, or one of the two rows below.

    Attributes:
        feature: The name of the feature.
        columns: The names of the columns in the matrix.
        parts: Of a date, the part in each column.
        levels: Of a category, the values of each level of the training rows.
        missing: Of a category, the values of a missing one.
        unseen: Of a category, the values of a level that the training rows did not have.
    """

    feature: str
    columns: tuple[str, ...]
    parts: tuple[DatePart, ...] = ()
    levels: dict[str, tuple[Finite, ...]] = field(default_factory=dict)
    missing: tuple[Finite, ...] = ()
    unseen: tuple[Finite, ...] = ()

    def fits(self, kind: str) -> bool:
        """Return whether the encoding is one of features of this kind."""
        width = len(self.columns)
        if kind == "date":
            return width == len(self.parts) > 0
        if kind == "category":
            rows = [self.missing, self.unseen, *self.levels.values()]
            return width > 0 and all(len(row) == width for row in rows)
        return width == 1

    def values_of(self, text: str | None) -> tuple[float, ...]:
        """Return the values of one text of a category."""
        return self.missing if text is None else self.levels.get(text, self.unseen)

    def is_unseen(self, text: str | None) -> bool:
        """Return whether a text is a level that the training rows did not have."""
        return text is not None and text not in self.levels


class Preparation:
    """The encodings of features, in the order of the columns of the matrix."""

    def __init__(self, features: Sequence[Feature], encodings: Sequence[Encoding]) -> None:
        self._features = tuple(features)
        by_name = {encoding.feature: encoding for encoding in encodings}
        self.encodings = [
            by_name.get(feature.name) or Encoding(feature.name, (feature.name,))
            for feature in features
        ]
        self.columns = list(chain.from_iterable(encoding.columns for encoding in self.encodings))
        self._is_identity = all(feature.kind in ("number", "boolean") for feature in features)

    def matrix(self, rows: FeatureRows) -> Floats:
        """Return the matrix of rows, shape (n_rows, n_columns), NaN where a value is missing."""
        if self._is_identity:
            return rows.numbers
        if len(rows) <= FEW_ROWS:
            return self._matrix_of_few(rows)
        matrix = np.empty((len(rows), len(self.columns)))
        numbers, categories, start = iter(rows.numbers.T), iter(rows.categories), 0
        for feature, encoding in zip(self._features, self.encodings, strict=True):
            end = start + len(encoding.columns)
            if feature.kind == "category":
                matrix[:, start:end] = _encoded(encoding, next(categories))
            elif feature.kind == "date":
                matrix[:, start:end] = _date_parts(next(numbers), encoding.parts)
            else:
                matrix[:, start] = next(numbers)
            start = end
        return matrix

    def count_unseen(self, rows: FeatureRows) -> dict[str, int]:
        """Return how many rows have an unseen level, of each feature with such rows."""
        categories = [
            encoding
            for feature, encoding in zip(self._features, self.encodings, strict=True)
            if feature.kind == "category"
        ]
        counts = {
            encoding.feature: _count(encoding.is_unseen, texts)
            for encoding, texts in zip(categories, rows.categories, strict=True)
        }
        return {name: count for name, count in counts.items() if count}

    def _matrix_of_few(self, rows: FeatureRows) -> Floats:
        numbers, categories = iter(rows.numbers.T), iter(rows.categories)
        blocks: list[Sequence[Sequence[float]]] = []
        for feature, encoding in zip(self._features, self.encodings, strict=True):
            if feature.kind == "category":
                blocks.append([encoding.values_of(text) for text in next(categories)])
            elif feature.kind == "date":
                blocks.append(_date_parts(next(numbers), encoding.parts).tolist())
            else:
                blocks.append([(number,) for number in next(numbers).tolist()])
        values = [list(chain.from_iterable(row)) for row in zip(*blocks, strict=True)]
        return np.array(values, dtype=np.float64).reshape(len(rows), len(self.columns))


def _encoded(encoding: Encoding, texts: list[str | None] | Texts) -> Floats:
    if isinstance(texts, list):
        return np.array([encoding.values_of(text) for text in texts], dtype=np.float64)
    # A code of -1 takes the last row.
    table = [encoding.values_of(text) for text in [*texts.distinct, None]]
    return np.array(table, dtype=np.float64)[texts.codes]


def _count(matches: Callable[[str | None], bool], texts: list[str | None] | Texts) -> int:
    if isinstance(texts, list):
        return sum(map(matches, texts))
    matching = np.array([*map(matches, texts.distinct), False])
    return int(matching[texts.codes].sum())


def date_part(part: DatePart, microseconds: Floats) -> Floats:
    """Return a part of dates, shape (n_rows,), NaN where missing.

    Args:
        part: "seconds" since 1970 with fractions, "year", "month" and "day" from 1, "weekday" from
            0 for Monday, or "hour".
        microseconds: The dates since 1970, shape (n_rows,).
    """
    if part == "seconds":
        return microseconds / MICROSECONDS
    missing = np.isnan(microseconds)
    seconds = np.floor(np.where(missing, 0.0, microseconds) / MICROSECONDS).astype(np.int64)
    value: npt.NDArray[np.int64]
    if part == "hour":
        value = seconds // SECONDS_PER_HOUR % HOURS_PER_DAY
    elif part == "weekday":
        value = (seconds // (SECONDS_PER_HOUR * HOURS_PER_DAY) + MONDAY) % 7
    else:
        value = _calendar_part(part, seconds.astype("datetime64[s]"))
    return np.where(missing, np.nan, value)


def _calendar_part(part: str, times: "npt.NDArray[np.datetime64]") -> npt.NDArray[np.int64]:
    years, months = times.astype("datetime64[Y]"), times.astype("datetime64[M]")
    if part == "year":
        return years.astype(np.int64) + 1970
    if part == "month":
        return (months - years).astype(np.int64) + 1
    return (times.astype("datetime64[D]") - months).astype(np.int64) + 1


def _date_parts(microseconds: Floats, parts: Sequence[DatePart]) -> Floats:
    return np.column_stack([date_part(part, microseconds) for part in parts])
