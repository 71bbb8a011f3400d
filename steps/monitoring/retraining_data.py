"""Training table and parameters of a retraining."""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pandas.api.types import is_datetime64_any_dtype

from serving.errors import one_line
from serving.log.database.schema import ground_truth, predictions
from serving.log.queries import in_order, with_latest_label
from serving.model.features import Feature
from serving.model.mlflow_model import is_absent
from steps.data.feature_frames import with_columns
from steps.data.fingerprints import row_hashes
from steps.data.logged_splits import open_splits
from steps.data.origin import BASE, TIMES_FROM, origin_of
from steps.data.row_keys import ROW_KEY, keys_of_predictions, keys_of_rows
from steps.data.splits import Splits
from steps.monitoring.growing_columns import GrowingColumns, in_utc
from steps.monitoring.logged_features import logged_columns
from steps.monitoring.source_form import as_logged, as_source
from steps.monitoring.window import ROWS_PER_CHUNK
from steps.prediction_log.arrow_tables import for_each_table, table_without_rows, times_of
from steps.prediction_log.feature_decoder import FeatureDecoder
from steps.runtime.active_run import active_run
from steps.runtime.errors import ParameterError, RegistryError
from steps.runtime.logged_parameters import read_parameters
from steps.runtime.parameter_types import as_text

TABLE_FILE = "retraining.parquet"
READ = ("created_at", "prediction_id", "entity_id", "features")
KEYS = ("created_at", "row_key", "entity_id")


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions with ground truth.

    Attributes:
        rows: their features, as they are logged, and the target.
        keys: created_at, row_key (see `steps.data.row_keys`) and entity_id of the same rows, in a
            frame of their own, as a feature may have any name.
    """

    rows: pd.DataFrame
    keys: pd.DataFrame


@dataclass(frozen=True)
class RetrainingData:
    """Input of a retraining.

    Attributes:
        table: rows of the base data, then the added predictions, oldest first.
        parameters: parameters of `main` inherited from the champion, without `data`.
        base_run_id: `load_data` run of the base data.
        times_from: see `append_new_rows`.
        added: number of labelled predictions in `table`.
        duplicates: number of labelled predictions that are the same record as another row.
        incomplete: number of labelled predictions that lack a feature of `table`.
    """

    table: pd.DataFrame
    parameters: dict[str, str]
    base_run_id: str
    times_from: pd.Timestamp
    added: int
    duplicates: int
    incomplete: int


class Appended(NamedTuple):
    """A table with appended predictions, their number, and `times_from` of `append_new_rows`."""

    table: pd.DataFrame
    added: int
    times_from: pd.Timestamp


def build_retraining_data(
    connection: sa.Connection, model_name: str, champion: ModelVersion
) -> RetrainingData:
    """Append the labelled predictions in the log to the champion's base data.

    The base is the data of the first champion in the line, so that no row enters both from the
    base and from an earlier retraining. Predictions of the same record as another row are left out;
    otherwise one row could be in both training and test. The table is split anew; promotion rules
    account for the rows that the incumbent has seen.

    Raises:
        RegistryError: a run that made the champion was deleted.
    """
    with _deleted_runs_named(champion):
        data_run_id = champion.tags["data_run_id"]
        origin = origin_of(data_run_id)
        base_run_id = origin.get(BASE, data_run_id)
        parameters = inherited_parameters(_logged_parameters(champion))
    with _deleted_runs_named(champion), open_splits(base_run_id) as splits:
        description, features, target = splits.description, splits.features, splits.target
        base, equal_rows = base_rows(splits, base_run_id)
    by_values = description.equal_rows == "drop"
    labelled, incomplete = labelled_predictions(connection, model_name, features, target)
    times_from = pd.Timestamp(origin[TIMES_FROM]) if TIMES_FROM in origin else None
    table, added, times_from = append_new_rows(
        base, labelled, description.time_column, description.id_column, by_values, times_from
    )
    overruled = any(parameters.get(name) for name in ("categorical", "numeric"))
    parameters |= equal_rows | meaning_of_columns(features, description.classes, overruled)
    return RetrainingData(
        as_source(table, features, target, description.classes),
        parameters | {"target": target, "model_name": model_name},
        base_run_id,
        times_from,
        added,
        duplicates=len(labelled.rows) - added,
        incomplete=incomplete,
    )


def base_rows(splits: Splits, run_id: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the base data, and the parameters with which a retraining keeps its equal rows.

    Rows of which equal ones were dropped may differ in columns that were left out. Without times
    and ids they get keys, the same in all retrainings of the base.

    Args:
        splits: the base data.
        run_id: its `load_data` run.

    Returns:
        The features as they are logged, the target, and times, ids and keys as far as there are
        any; and the parameters.
    """
    rows = as_logged(splits.all_rows(), splits.features)
    if (keys := splits.all_row_keys()) is not None:
        return rows.assign(**{ROW_KEY: keys}), {}
    if splits.description.equal_rows == "keep" or not rows.duplicated().any():
        return rows, {}
    if not (splits.has_ids or any(splits.description.latest.values())):
        rows[ROW_KEY] = keys_of_rows(run_id, np.arange(len(rows)))
    return rows, {"duplicates": "keep"}


def log_table(table: pd.DataFrame) -> str:
    """Log a table to the active run and return its URI, a value of the parameter `data`."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / TABLE_FILE
        table.to_parquet(file, index=False)
        mlflow.log_artifact(str(file))
    return f"runs:/{active_run().info.run_id}/{TABLE_FILE}"


def append_new_rows(
    base: pd.DataFrame,
    labelled: LabelledPredictions,
    time_column: str,
    id_column: str,
    by_values: bool = True,
    times_from: pd.Timestamp | None = None,
) -> Appended:
    """Append those labelled predictions that are other records than all others to `base`.

    Args:
        base: features, target and, if the rows have them, times, ids and row keys.
        labelled: the predictions, oldest first.
        time_column: name of the column of times; no feature has it.
        id_column: name of the column of ids; no feature has it.
        by_values: whether equal values are enough for the same record. If not, or if the base
            has ids, the ids must be equal, too; a row without one is a record of its own.
        times_from: the time of a prediction that becomes the first time after `base`. It is the
            same as in the retraining that made the champion, so that rows which the champion was
            fitted on have the same times; None for the time of the first appended prediction.
    """
    is_new = ~_repeated(base, labelled, id_column, by_values)
    new = labelled.rows[is_new].reset_index(drop=True)
    keys = labelled.keys[is_new].reset_index(drop=True)
    times_from = keys["created_at"].min() if times_from is None else times_from
    if time_column in base:
        times = _times_after(base[time_column], keys["created_at"], times_from)
        new = with_columns(new, {time_column: times})
    if id_column in base:
        new = with_columns(new, {id_column: keys["entity_id"]})
    if ROW_KEY in base:
        new = new.assign(**{ROW_KEY: keys["row_key"].to_numpy()})
    return Appended(pd.concat([base, new], ignore_index=True), len(new), times_from)


def _repeated(
    base: pd.DataFrame, labelled: LabelledPredictions, id_column: str, by_values: bool
) -> npt.NDArray[np.bool_]:
    """Return which predictions are the same record as one of `base` or an earlier one."""
    identified = id_column in base or not by_values
    rows, ids = labelled.rows, labelled.keys["entity_id"]
    if identified:
        rows = with_columns(rows, {id_column: ids})
    hashes = row_hashes(rows)
    known = row_hashes(base[list(rows)]) if set(rows) <= set(base) else hashes[:0]
    repeated = np.isin(hashes, known) | pd.Series(hashes).duplicated().to_numpy()
    return repeated & ids.notna().to_numpy() if identified else repeated


def _times_after(
    base: "pd.Series[Any]", created_at: "pd.Series[Any]", times_from: pd.Timestamp
) -> "pd.Series[Any]":
    """Return times for predictions, in their order and later than all of `base`.

    Numeric times are the seconds since `times_from`, after the last time of `base`. Datetimes are
    moved only if `times_from` is not later than all of `base`. Each time depends on no other
    prediction; one that would not be later than `base` is the first possible.
    """
    if not is_datetime64_any_dtype(base):
        elapsed = (created_at - times_from).dt.total_seconds()
        return float(base.max()) + 1.0 + elapsed.clip(lower=0.0)
    times, start = created_at, times_from
    if base.dt.tz is None:
        times, start = times.dt.tz_localize(None), start.tz_localize(None)
    last = base.max()
    first = last + pd.Timedelta(seconds=1)
    if start <= last:
        times = times + (first - start)
    # pandas does not append times of another unit.
    return times.where(times > last, first).astype(base.dtype)


def labelled_predictions(
    connection: sa.Connection, model_name: str, features: Sequence[Feature], target: str
) -> tuple[LabelledPredictions, int]:
    """Return every labelled prediction with all features, and the number of those without.

    They are ordered by time.
    """
    rows, keys = GrowingColumns(), GrowingColumns()
    query = with_latest_label(connection.dialect.name, [predictions.c[name] for name in READ])
    query = query.where(predictions.c.model_name == model_name).where(
        predictions.c.prediction_id.in_(sa.select(ground_truth.c.prediction_id))
    )
    with FeatureDecoder() as decoder:

        def add(table: pa.Table) -> None:
            logged = table["features"].combine_chunks()
            values, complete = logged_columns(logged, features, decoder)
            values[target] = table["true_label"].to_numpy().astype(np.int64)
            found = int(complete.sum())
            rows.append({name: column[complete] for name, column in values.items()}, found)
            keys.append({name: c[complete] for name, c in _keys_of(table).items()}, found)

        add(table_without_rows([*query.selected_columns]))
        count = for_each_table(connection, query.order_by(*in_order()), ROWS_PER_CHUNK, add)
    names = [*(feature.name for feature in features), target]
    found = LabelledPredictions(rows.frame(names), in_utc(keys.frame(KEYS)))
    return found, count - len(rows)


def _keys_of(table: pa.Table) -> dict[str, Any]:
    return {
        "created_at": times_of(table["created_at"]),
        "row_key": keys_of_predictions(table["prediction_id"].to_pandas()),
        "entity_id": table["entity_id"].to_pandas().to_numpy(object),
    }


def inherited_parameters(parameters: dict[str, str]) -> dict[str, str]:
    """Return the champion's parameters without `query`, `drop` and `promotion=always`.

    A retraining's table is no database, and has no columns that were left out. `always` was a
    person's decision about one model and must not disable the promotion rules.
    """
    return {
        name: value
        for name, value in parameters.items()
        if name not in ("query", "drop") and (name, value) != ("promotion", "always")
    }


def meaning_of_columns(
    features: Sequence[Feature], classes: Sequence[str], overruled: bool = False
) -> dict[str, str]:
    """Return the parameters that make a retraining recognise features as before.

    With more rows, a column may look like another kind, and the other class may be the rarer one.
    Tables of plain numbers and a target of 0 and 1 leave no choice.

    Args:
        features: the features.
        classes: the values of the target that are class 0 and class 1.
        overruled: whether the user named kinds, perhaps of columns that were left out.
    """
    parameters = {} if list(classes) == ["0", "1"] else {"positive": classes[1]}
    if overruled or not all(feature.is_plain for feature in features):
        for parameter, kind in {"categorical": "category", "numeric": "number"}.items():
            parameters[parameter] = as_text([f.name for f in features if f.kind == kind])
    return parameters


@contextmanager
def _deleted_runs_named(champion: ModelVersion) -> Iterator[None]:
    """Turn the error for an absent run into one that names the champion and a remedy.

    Raises:
        RegistryError: a run that made the champion was deleted.
    """
    try:
        yield
    except (MlflowException, ParameterError) as error:
        if isinstance(error, MlflowException) and not is_absent(error):
            raise
        raise RegistryError(
            f"version {champion.version} of {champion.name} cannot be retrained, because a run "
            f"that made it was deleted ({one_line(error)}): train another with "
            f"`mlflow run . -P model_name={shlex.quote(champion.name)}`"
        ) from error


def _logged_parameters(champion: ModelVersion) -> dict[str, str]:
    """Return the parameters of the runs that made `champion`, those of `main` last."""
    selection = mlflow.get_run(champion.tags["selection_run_id"])
    runs = [mlflow.get_run(champion.tags["data_run_id"]), selection]
    if parent := selection.data.tags.get(MLFLOW_PARENT_RUN_ID):
        runs.append(mlflow.get_run(parent))
    return {name: value for run in runs for name, value in read_parameters(run).items()}
