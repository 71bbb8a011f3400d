"""Rows with values that the validation split may lack: unseen levels and missing values."""

from dataclasses import replace

import numpy as np

from steps.data.splits import Split, Splits

ROWS = 200
# Of every so many rows, one has an unseen level or no value in a feature.
EVERY = 4
UNSEEN = "\u2205 unseen by ml-pipes"


def edge_rows(splits: Splits) -> Split | None:
    """Return a copy of validation rows, some with unseen levels and with missing values.

    Values are missing only in features that may lack them. None if no feature allows either.
    """
    features = [f for f in splits.features if f.nullable or f.kind == "category"]
    if not features:
        return None
    first = splits.validation.head(ROWS)
    frame = first.copy()
    for place, feature in enumerate(features):
        column = frame[feature.name].astype(object)
        rows = (np.arange(len(frame)) + place) % (2 * EVERY)
        if feature.kind == "category":
            column[rows == 0] = UNSEEN
        if feature.nullable:
            column[rows == EVERY] = None
        frame[feature.name] = column
    file = splits.validation.file.with_name("edge_rows.parquet")
    if all(feature.is_plain for feature in splits.features):
        frame = frame.astype(first.dtypes)
    frame.to_parquet(file, index=False)
    return replace(splits.validation, name="edge rows", file=file, in_memory=frame)
