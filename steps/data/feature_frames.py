"""Features in data frames, typed by their kinds.

Numbers are float64, booleans pandas' "boolean", dates datetime64 (UTC, without a zone) and
categories pandas' categoricals, so that no value is an object of Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.model.features import Feature
from serving.model.preparation import MICROSECONDS
from serving.model.schema import NUMBERS, FeatureSchema
from serving.model.values import InvalidValueError, Texts

LoggedRow = dict[str, Any] | None
OF_NUMBERS = NUMBERS | {type(None)}


def with_columns(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a copy of `frame` with new or replaced columns.

    As `DataFrame.assign`, which refuses a column called "self".
    """
    changed = frame.copy()
    for name, values in columns.items():
        changed[name] = values
    return changed


def typed_frame(rows: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Return the features of a table that a champion could take, each of which may be missing.

    Raises:
        InputError: A feature is absent, or a value is of another kind.
    """
    schema = FeatureSchema([replace(feature, nullable=True) for feature in features])
    parsed = schema.parse_frame(rows)
    numbers, categories = iter(parsed.numbers.T), iter(parsed.categories)
    columns = {
        feature.name: _typed(feature, next(categories if feature.kind == "category" else numbers))
        for feature in features
    }
    return pd.DataFrame(columns, index=rows.index)


def frame_of_logged(
    rows: Sequence[LoggedRow], features: Sequence[Feature]
) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """Return logged rows, and which of them have all features, in values that can be read.

    Versions may differ in their features and the kinds of these. What a row lacks, or has in
    another kind, is missing in the frame.

    Args:
        rows: The features of each prediction; None if it was logged without.
        features: The features of the champion.
    """
    known = np.array([row is not None for row in rows], dtype=bool)
    columns = {}
    for feature in features:
        columns[feature.name], readable = _logged_column(rows, feature)
        known &= readable
    return pd.DataFrame(columns, index=range(len(rows))), known


def in_seconds(dates: "pd.Series[Any]") -> "pd.Series[float]":
    """Return typed dates in seconds since 1970."""
    seconds = dates.to_numpy("datetime64[us]").astype(np.int64) / MICROSECONDS
    return pd.Series(np.where(dates.isna(), np.nan, seconds), index=dates.index)


def concatenate(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return typed frames of the same features below each other."""
    first = frames[0]
    columns: dict[str, Any] = {
        name: pd.api.types.union_categoricals([frame[name] for frame in frames])
        if isinstance(first[name].dtype, pd.CategoricalDtype)
        else pd.concat([frame[name] for frame in frames], ignore_index=True)
        for name in map(str, first)
    }
    return pd.DataFrame(columns, index=range(sum(map(len, frames))))


def _logged_column(
    rows: Sequence[LoggedRow], feature: Feature
) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return the values of a feature, and in which rows they can be read."""
    name = feature.name
    readable = np.array([row is not None and name in row for row in rows], dtype=bool)
    raw = [row.get(name) if row else None for row in rows]
    if feature.is_plain and set(map(type, raw)) <= OF_NUMBERS:
        return np.array(raw, dtype=np.float64), readable
    values: list[Any] = [None] * len(raw)
    for place, value in enumerate(raw):
        try:
            values[place] = feature.parse(value)
        except InvalidValueError:
            readable[place] = False
    if feature.kind == "category":
        # Of a list without texts, pandas makes a categorical that no other can be joined to.
        return pd.Categorical(np.array(values, dtype=object)), readable
    return _typed(feature, np.array(values, dtype=np.float64)), readable


def _typed(feature: Feature, values: Any) -> Any:
    """Return canonical values of a feature (see `FeatureRows`) in the type of its kind."""
    if isinstance(values, Texts):
        return pd.Categorical(np.array([*values.distinct, None], dtype=object)[values.codes])
    if feature.kind == "number":
        return values
    missing = np.isnan(values)
    if feature.kind == "boolean":
        return pd.arrays.BooleanArray(values == 1, missing)
    dates = np.where(missing, 0.0, values).astype(np.int64).astype("datetime64[us]")
    dates[missing] = np.datetime64("NaT")
    return dates
