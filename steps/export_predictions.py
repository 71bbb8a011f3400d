"""Write the prediction log to CSV or Parquet: features as columns, joined with what was true.

mlflow run . -e export_predictions -P output=predictions.parquet
mlflow run . -e export_predictions -P output=may.csv -P since=2026-05-01 -P until=2026-06-01
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import sqlalchemy as sa

from serving.history import StoredPrediction, feature_names, stream
from serving.schema import log_uri as place_of_log
from steps.pipeline.errors import ParameterError
from steps.pipeline.log_reader import check_window, open_log
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")

ROWS_AT_ONCE = 10_000
KINDS = {".csv": pa.csv.CSVWriter, ".parquet": pa.parquet.ParquetWriter}
MOMENT = pa.timestamp("us", tz="UTC")
BEFORE_FEATURES = {
    "prediction_id": pa.string(),
    "request_id": pa.string(),
    "row_index": pa.int32(),
    "entity_id": pa.string(),
    "created_at": MOMENT,
    "model_name": pa.string(),
    "model_version": pa.string(),
    "run_id": pa.string(),
    "source": pa.string(),
}
AFTER_FEATURES = {
    "score": pa.float64(),
    "label": pa.int8(),
    "threshold": pa.float64(),
    "true_label": pa.int8(),
    "observed_at": MOMENT,
}


@step
def export_predictions(
    output: Path, since: datetime | None, until: datetime | None, log_uri: str
) -> None:
    """Write the predictions of a time window, oldest first, to one file."""
    rows = export(place_of_log(log_uri), output, since, until)
    mlflow.log_metric("rows", rows)
    log.info("%s: %s predictions", output, f"{rows:,}")


def export(uri: str, output: Path, since: datetime | None, until: datetime | None) -> int:
    """Write the predictions from `since` to before `until` to `output`; return how many.

    Raises:
        ParameterError: the window is empty, or the file is of another kind or cannot be written.
        LogUnavailableError: there is no log at `uri`, or it is away.
    """
    if output.suffix not in KINDS:
        raise ParameterError(f"output: {output} must end with {' or '.join(KINDS)}")
    check_window(since, until)
    with open_log(uri) as connection:
        return _export(connection, output, since, until)


def _export(
    connection: sa.Connection, output: Path, since: datetime | None, until: datetime | None
) -> int:
    """Write the file, which gets its name when it is complete; return its number of rows."""
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    rows = 0
    try:
        names = feature_names(connection, since, until)
        with _writer(partial, output.suffix, names) as writer:
            for chunk in stream(connection, since, until, ROWS_AT_ONCE):
                writer.write_table(_table(chunk, names, writer.schema))
                rows += len(chunk)
        partial.rename(output)
    except OSError as error:
        raise ParameterError(f"output: {output} cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return rows


class _Writer:
    """Writes tables of one schema, as CSV or Parquet."""

    def __init__(self, file: Path, suffix: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._writer = KINDS[suffix](file, schema)
        self.write_table = self._writer.write_table
        self.close = self._writer.close


@contextmanager
def _writer(file: Path, suffix: str, names: list[str]) -> Iterator[_Writer]:
    columns = BEFORE_FEATURES | dict.fromkeys(_columns(names), pa.float64()) | AFTER_FEATURES
    writer = _Writer(file, suffix, pa.schema(list(columns.items())))
    try:
        yield writer
    finally:
        writer.close()


def _columns(names: list[str]) -> list[str]:
    """Return the columns of the features; one called like a column of the log gets a prefix."""
    taken = BEFORE_FEATURES.keys() | AFTER_FEATURES.keys()
    return [f"feature_{name}" if name in taken else name for name in names]


def _table(rows: list[StoredPrediction], names: list[str], schema: pa.Schema) -> pa.Table:
    own = [name for name in schema.names if name in BEFORE_FEATURES or name in AFTER_FEATURES]
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in own}
    for name, column in zip(names, _columns(names), strict=True):
        columns[column] = [(row.features or {}).get(name) for row in rows]
    return pa.table(columns, schema=schema)


if __name__ == "__main__":
    export_predictions()
