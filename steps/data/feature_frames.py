"""Features in data frames, typed by their kinds.

Numbers are float64, booleans pandas' "boolean", dates datetime64 (UTC, without a zone) and
categories pandas' categoricals, so that no value is an object of Python.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from serving.model.features import Feature
from serving.model.preparation import MICROSECONDS
from serving.model.schema import FeatureSchema
from serving.model.values import Texts


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
        feature.name: typed_values(
            feature, next(categories if feature.kind == "category" else numbers)
        )
        for feature in features
    }
    return pd.DataFrame(columns, index=rows.index)


def in_seconds(dates: "pd.Series[Any]") -> "pd.Series[float]":
    """Return typed dates in seconds since 1970."""
    seconds = dates.to_numpy("datetime64[us]").astype(np.int64) / MICROSECONDS
    return pd.Series(np.where(dates.isna(), np.nan, seconds), index=dates.index)


def joined_values(parts: Sequence[Any]) -> Any:
    """Return parts of a typed column as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, pd.Categorical):
        return pd.api.types.union_categoricals(list(parts))
    return pd.concat([pd.Series(part) for part in parts], ignore_index=True).array


def typed_values(feature: Feature, values: Any) -> Any:
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
