"""Rows of splits and of the prediction log in the form of the user's own table.

A retraining reads them like any table, so that its champion takes the same raw values as before.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from serving.model.features import Feature
from serving.model.schema import FeatureSchema
from steps.data.feature_frames import with_columns


def as_logged(rows: pd.DataFrame, features: Sequence[Feature]) -> pd.DataFrame:
    """Return rows of splits with each feature as the prediction log stores it.

    Numbers stay as they are.
    """
    schema = FeatureSchema([replace(feature, nullable=True) for feature in features])
    columns = dict(zip(schema.names, schema.parse_frame(rows).logged_columns(), strict=True))
    others = {f.name: columns[f.name] for f in features if f.kind != "number"}
    return with_columns(
        rows, {name: pd.Series(values, dtype=object) for name, values in others.items()}
    )


def as_source(
    rows: pd.DataFrame, features: Sequence[Feature], target: str, classes: Sequence[str]
) -> pd.DataFrame:
    """Return rows, each feature as the log stores it, in the form of the user's table.

    Args:
        rows: features and the target, 0 or 1; other columns stay as they are.
        features: the features.
        target: the name of the target.
        classes: the values of the target that are class 0 and class 1.
    """
    changed: dict[str, Any] = {}
    for feature in features:
        column = rows[feature.name]
        if feature.text:
            changed[feature.name] = [None if np.isnan(value) else repr(value) for value in column]
        elif feature.format:
            changed[feature.name] = [
                None if text is None else _formatted(datetime.fromisoformat(text), feature.format)
                for text in column
            ]
    if list(classes) != ["0", "1"]:
        changed[target] = np.array(classes, dtype=object)[rows[target].to_numpy(np.int64)]
    return with_columns(rows, changed)


def _formatted(moment: datetime, format_: str) -> str:
    # Python writes the year 1 as "1", which no training reads as a year.
    return moment.strftime(format_.replace("%Y", f"{moment.year:04}"))
