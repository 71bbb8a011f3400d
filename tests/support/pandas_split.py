"""Deduplication and split of a whole table in pandas: what DuckDB's must equal.

It is the code of the releases before tables of any size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split


@dataclass(frozen=True)
class PandasSplit:
    """The splits of a table, and the number of duplicate rows."""

    frames: list[pd.DataFrame]
    times: list["pd.Series[Any]"]
    duplicates: int


def pandas_split(
    frame: pd.DataFrame, target: str, time_column: str, kind: str, drop: bool, seed: int
) -> PandasSplit:
    """Return the splits of `frame`, temporal or stratified."""
    features = [name for name in frame.columns if name not in (target, time_column)]
    frame = frame.astype(dict.fromkeys(features, np.float64) | {target: np.int64})
    n_rows = len(frame)
    if drop:
        frame = frame.drop_duplicates()
    if kind == "temporal":
        frame = frame.sort_values(time_column, kind="stable")
    frame = frame.reset_index(drop=True)
    first, second = int(len(frame) * 0.6), int(len(frame) * 0.8)
    if kind == "temporal":
        frames = [frame.iloc[:first], frame.iloc[first:second], frame.iloc[second:]]
    else:
        training, rest = train_test_split(
            frame, train_size=first, stratify=frame[target], random_state=seed
        )
        validation, test = train_test_split(
            rest, train_size=second - first, stratify=rest[target], random_state=seed
        )
        frames = [part.sort_index() for part in (training, validation, test)]
    times = [part[time_column] for part in frames] if time_column in frame else []
    return PandasSplit([part[[*features, target]] for part in frames], times, n_rows - len(frame))
