"""What a retraining learns from: the champion's data and, after them, the labelled predictions."""

import tempfile
from dataclasses import dataclass
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
from steps.monitoring.window import ROWS_AT_ONCE
from steps.pipeline.parameters import as_given
from steps.pipeline.rows import row_hashes
from steps.pipeline.splits import open_splits

FILE = "retraining.parquet"
# On the run of `load_data` whose table was made here: the data run that it began with.
BASE = "base_data_run_id"


@dataclass(frozen=True)
class Retraining:
    """A table to train on, and how.

    Attributes:
        table: the rows of the base, then the new ones in the order of their predictions.
        parameters: of `main`, as the champion was made with, but for `data`.
        base_run_id: the `load_data` run of the base.
        new: how many labelled predictions were added.
        known: how many were left out, because an equal row is there already.
    """

    table: pd.DataFrame
    parameters: dict[str, str]
    base_run_id: str
    new: int
    known: int


def prepare(connection: sa.Connection, model_name: str, champion: ModelVersion) -> Retraining:
    """Return the table that a retraining of `champion` learns from.

    The base is the data that the first champion of this line was made from, so that a row is
    not there once from the base and once from an earlier retraining. A prediction whose features
    and label equal those of a row of the base, or of an earlier prediction, is the same row:
    it is left out, or it could be learned from and tested on at once. The splits are made anew
    from the whole; which rows the incumbent has seen, the promotion takes care of.
    """
    data_run = mlflow.get_run(champion.tags["data_run_id"])
    base_run_id = data_run.data.tags.get(BASE, data_run.info.run_id)
    with open_splits(base_run_id) as splits:
        base = splits.all_rows()
        time_column = splits.description.time_column
        features, target = splits.names, splits.target
    labelled = _labelled(connection, model_name, features, target)
    table, new = append(base, labelled, features, target, time_column)
    parameters = _parameters_of(champion) | {"target": target, "model_name": model_name}
    return Retraining(table, parameters, base_run_id, new, len(labelled) - new)


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


def _labelled(
    connection: sa.Connection, model_name: str, features: list[str], target: str
) -> pd.DataFrame:
    """Return every labelled prediction that has its features, oldest first."""
    rows: list[list[Any]] = []
    found = stream(connection, None, None, ROWS_AT_ONCE, model_name, labelled_only=True)
    for chunk in found:
        rows += [
            [row.created_at, row.true_label, *(row.features.get(name) for name in features)]
            for row in chunk
            if row.features is not None
        ]
    frame = pd.DataFrame(rows, columns=["created_at", target, *features])
    kinds = {"created_at": "datetime64[us, UTC]", target: "int64"}
    return frame.astype(kinds | dict.fromkeys(features, "float64"))


def _parameters_of(champion: ModelVersion) -> dict[str, str]:
    """Return the parameters of the run of `main`, or else of the steps, that made `champion`."""
    selection = mlflow.get_run(champion.tags["selection_run_id"])
    runs = [mlflow.get_run(champion.tags["data_run_id"]), selection]
    if parent := selection.data.tags.get(MLFLOW_PARENT_RUN_ID):
        runs.append(mlflow.get_run(parent))
    return as_given({name: value for run in runs for name, value in run.data.params.items()})
