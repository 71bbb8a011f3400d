"""A bounded sample of splits, read one column at a time."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from serving.model.features import Feature
from steps.data.feature_frames import typed_frame
from steps.data.splits import Splits
from steps.evaluation.metrics import Labels

# Rates of more rows would not look different.
MAX_ROWS = 200_000


class SplitsSample:
    """At most 200,000 evenly spaced rows of each split; memory holds one column at a time."""

    def __init__(self, splits: Splits) -> None:
        self.description = splits.description
        self.names = list(splits.description.rows)
        self._splits = splits
        self._by_name = {s.name: s for s in (splits.training, splits.validation, splits.test)}

    @property
    def is_complete(self) -> bool:
        """Whether the sample has all rows."""
        return max(self.description.rows.values()) <= MAX_ROWS

    @cached_property
    def y(self) -> dict[str, Labels]:
        """The target of the rows of each split, shape (n_rows,)."""
        target = self.description.target
        return {name: self._column(name, target).to_numpy() for name in self.names}

    def column(self, feature: Feature) -> "dict[str, pd.Series[Any]]":
        """Return the typed values of a feature in each split (see `steps.data.feature_frames`)."""
        found = {}
        for split in self.names:
            raw = self._column(split, feature.name).to_pandas()
            found[split] = typed_frame(pd.DataFrame({feature.name: raw}), [feature])[feature.name]
        return found

    @cached_property
    def times(self) -> "dict[str, pd.Series[Any]] | None":
        """The times of the rows of each split; None if there is no time column."""
        times, start, found = self._splits.times, 0, {}
        if times is None:
            return None
        for name, rows in self.description.rows.items():
            found[name] = times.slice(start, rows).take(self._rows(name)).to_pandas()
            start += rows
        return found

    def _column(self, split: str, name: str) -> pa.Array:
        column = self._by_name[split].columns[name]
        return column if len(column) <= MAX_ROWS else column.take(self._rows(split))

    def _rows(self, split: str) -> "npt.NDArray[np.int64]":
        """Return the positions of the rows: evenly spaced, as neighbours may be alike."""
        count = self.description.rows[split]
        return np.linspace(0, count - 1, min(count, MAX_ROWS)).astype(np.int64)
