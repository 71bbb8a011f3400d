"""What a retraining learns from: the champion's data and, after them, the labelled predictions."""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import sqlalchemy as sa
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pandas.api.types import is_datetime64_any_dtype

from serving.history import stream
from steps.monitoring.window import ROWS_AT_ONCE, has_all
from steps.pipeline.evaluation import FEWEST_ROWS_OF_A_CLASS
from steps.pipeline.origin import BASE, origin_of
from steps.pipeline.parameters import as_given
from steps.pipeline.rows import row_hashes
from steps.pipeline.splits import open_splits

FILE = "retraining.parquet"
# Labels of each class without which there is nothing to learn: of one alone, the last rows of
# the table, which are its test, would all be of that class.
FEWEST_LABELS = FEWEST_ROWS_OF_A_CLASS["test"]


@dataclass(frozen=True)
class Retraining:
    """A table to train on, and how.

    Attributes:
        table: the rows of the base, then the new ones in the order of their predictions.
        parameters: of `main`, as the champion was made with, but for `data`.
        base_run_id: the `load_data` run of the base.
        new: how many labelled predictions were added.
        known: how many were left out, because an equal row is there already.
        other: how many were left out, because they lack a feature of the table.
    """

    table: pd.DataFrame
    parameters: dict[str, str]
    base_run_id: str
    new: int
    known: int
    other: int


def prepare(connection: sa.Connection, model_name: str, champion: ModelVersion) -> Retraining:
    """Return the table that a retraining of `champion` learns from.

    The base is the data that the first champion of this line was made from, so that a row is
    not there once from the base and once from an earlier retraining. A prediction whose features
    and label equal those of a row of the base, or of an earlier prediction, is the same row:
    it is left out, or it could be learned from and tested on at once. The splits are made anew
    from the whole; which rows the incumbent has seen, the promotion takes care of.
    """
    data_run_id = champion.tags["data_run_id"]
    base_run_id = origin_of(data_run_id).get(BASE, data_run_id)
    with open_splits(base_run_id) as splits:
        base = splits.all_rows()
        time_column = splits.description.time_column
        features, target = splits.names, splits.target
    labelled, other = labelled_rows(connection, model_name, features, target)
    table, new = append(base, labelled, features, target, time_column)
    parameters = inherited(_parameters_of(champion)) | {"target": target, "model_name": model_name}
    return Retraining(table, parameters, base_run_id, new, len(labelled) - new, other)


def too_few_labels(labels: Collection[int]) -> str:
    """Say of the labels recorded since the last retraining if they are too few; empty if not."""
    positives = sum(labels)
    if min(positives, len(labels) - positives) >= FEWEST_LABELS:
        return ""
    return (
        f"{positives} labels of 1 and {len(labels) - positives} of 0 are new; "
        f"{FEWEST_LABELS} of each are needed"
    )


def log_table(table: pd.DataFrame) -> str:
    """Log a table to the active run; return its URI for the parameter `data`."""
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / FILE
        table.to_parquet(file, index=False)
        mlflow.log_artifact(str(file))
    return f"runs:/{run.info.run_id}/{FILE}"


def append(
    base: pd.DataFrame,
    labelled: pd.DataFrame,
    features: list[str],
    target: str,
    time_column: str,
) -> tuple[pd.DataFrame, int]:
    """Return `base` with the new ones of the `labelled` rows after it, and how many those are.

    Args:
        base: features, target and, if the rows had times, `time_column`.
        labelled: features, target and created_at, oldest first.
        features: the names of the features.
        target: the name of the target.
        time_column: the name of the time column.
    """
    columns = [*features, target]
    hashes = row_hashes(labelled[columns])
    repeated = np.isin(hashes, row_hashes(base[columns])) | pd.Series(hashes).duplicated()
    new = labelled[~np.asarray(repeated)].reset_index(drop=True)
    rows: pd.DataFrame = new[columns]
    if time_column in base:
        rows = rows.assign(**{time_column: _times_after(base[time_column], new["created_at"])})
    return pd.concat([base, rows], ignore_index=True), len(new)


def _times_after(base: "pd.Series[Any]", created_at: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return times for predictions that carried none: when they were made, after all of `base`.

    Numbers go on in seconds.
    """
    since_first = created_at - created_at.min()
    if not is_datetime64_any_dtype(base):
        return float(base.max()) + 1.0 + since_first.dt.total_seconds()
    moments = created_at if base.dt.tz is not None else created_at.dt.tz_localize(None)
    if len(moments) and moments.min() > base.max():
        return moments
    return base.max() + pd.Timedelta(seconds=1) + since_first


def labelled_rows(
    connection: sa.Connection, model_name: str, features: list[str], target: str
) -> tuple[pd.DataFrame, int]:
    """Return every labelled prediction, oldest first, and how many others lack a feature."""
    rows: list[list[Any]] = []
    other = 0
    found = stream(connection, None, None, ROWS_AT_ONCE, model_name, labelled_only=True)
    for row in chain.from_iterable(found):
        if row.features is None or not has_all(features, row):
            other += 1
            continue
        values = (row.features[name] for name in features)
        rows.append([row.created_at, row.true_label, *values])
    frame = pd.DataFrame(rows, columns=["created_at", target, *features])
    kinds = {"created_at": "datetime64[us, UTC]", target: "int64"}
    return frame.astype(kinds | dict.fromkeys(features, "float64")), other


def inherited(parameters: dict[str, str]) -> dict[str, str]:
    """Return those parameters of a champion's making that its retraining takes over.

    `promotion=always` was a person's decision about one model; it is no gate.
    """
    return {
        name: value
        for name, value in parameters.items()
        if (name, value) != ("promotion", "always")
    }


def _parameters_of(champion: ModelVersion) -> dict[str, str]:
    """Return the parameters of the run of `main`, or else of the steps, that made `champion`."""
    selection = mlflow.get_run(champion.tags["selection_run_id"])
    runs = [mlflow.get_run(champion.tags["data_run_id"]), selection]
    if parent := selection.data.tags.get(MLFLOW_PARENT_RUN_ID):
        runs.append(mlflow.get_run(parent))
    return as_given({name: value for run in runs for name, value in run.data.params.items()})
