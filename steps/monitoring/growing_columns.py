"""Columns of a table that is read in parts."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from steps.data.feature_frames import joined_values

FIRST_CAPACITY = 2**19


class GrowingColumns:
    """Columns of a table that grows."""

    def __init__(self, capacity: int = FIRST_CAPACITY) -> None:
        """Reserve room for `capacity` rows; up to these, no column is ever in memory twice."""
        self._capacity = capacity
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._parts: dict[str, list[Any]] = {}  # of columns that are no arrays of NumPy
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, columns: dict[str, Any], count: int) -> None:
        """Append `count` rows."""
        end = self._count + count
        for name, values in columns.items():
            if isinstance(values, np.ndarray):
                self._array(name, values.dtype, end)[self._count : end] = values
            else:
                self._parts.setdefault(name, []).append(values)
        self._count = end

    def _array(self, name: str, dtype: "np.dtype[Any]", size: int) -> npt.NDArray[Any]:
        """Return the array of a column, with room for `size` values."""
        array = self._arrays.get(name)
        if array is None or len(array) < size:
            # Pages that are not written take no memory.
            larger = np.empty(self._capacity if size <= self._capacity else 2 * size, dtype)
            if array is not None:
                larger[: self._count] = array[: self._count]
            self._arrays[name] = array = larger
        return array

    def frame(self, names: Iterable[str]) -> pd.DataFrame:
        """Return the table; the columns are not copied."""
        columns = {}
        for name in names:
            if name in self._arrays:
                values = self._arrays[name][: self._count]
            else:
                values = joined_values(self._parts[name])
            columns[name] = pd.Series(values, copy=False)
        return pd.DataFrame(columns, copy=False, index=range(self._count))


def in_utc(frame: pd.DataFrame) -> pd.DataFrame:
    """Give the times of a frame their zone, UTC, and return the frame."""
    for name in frame:
        if pd.api.types.is_datetime64_any_dtype(frame[name].dtype):
            frame[name] = frame[name].dt.tz_localize("UTC")
    return frame
