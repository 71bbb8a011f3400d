"""Export of the prediction log to one CSV or Parquet file."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import sqlalchemy as sa

from serving.log.database.schema import READ_COLUMNS, UtcDateTime, predictions
from serving.log.existing import open_log
from serving.log.formulas import FORMULA, as_text_cell
from serving.log.queries import StoredPrediction, feature_names, stream
from serving.log.shadow_predictions import (
    ShadowPrediction,
    holds_shadow_predictions,
    shadow_predictions_of,
)
from serving.private_files import create_export_file
from steps.runtime.errors import ParameterError
from steps.runtime.parameters import check_window

ROWS_PER_CHUNK = 10_000
WRITERS = {".csv": pa.csv.CSVWriter, ".parquet": pa.parquet.ParquetWriter}
TIMESTAMP = pa.timestamp("us", tz="UTC")
ARROW_TYPES = {
    sa.String: pa.string(),
    sa.Integer: pa.int32(),
    sa.Double: pa.float64(),
    UtcDateTime: TIMESTAMP,
}
COLUMNS_AFTER_FEATURES = {
    "score": pa.float64(),
    "label": pa.int8(),
    "threshold": pa.float64(),
    "true_label": pa.int8(),
    "observed_at": TIMESTAMP,
}
# Written if the log has any shadow prediction.
SHADOW_COLUMNS = {
    "shadow_model_version": pa.string(),
    "shadow_score": pa.float64(),
    "shadow_label": pa.int8(),
}
COLUMNS_BEFORE_FEATURES = {
    column.name: ARROW_TYPES[type(column.type)]
    for column in READ_COLUMNS
    if column.name not in COLUMNS_AFTER_FEATURES and column is not predictions.c.features
}
LOG_COLUMNS = COLUMNS_BEFORE_FEATURES | COLUMNS_AFTER_FEATURES


def export(uri: str, output: Path, since: datetime | None, until: datetime | None) -> int:
    """Write the predictions from `since` to before `until`, oldest first.

    Args:
        uri: SQLAlchemy URL of the log.
        output: the file to create; `.csv` or `.parquet`.
        since: start of the time window, inclusive.
        until: end of the time window, exclusive.

    Returns:
        The number of exported predictions.

    Raises:
        ParameterError: the window is empty, the suffix is unknown, or the file cannot be written.
        LogUnavailableError: there is no log at `uri`, or it is unavailable.
    """
    if output.suffix not in WRITERS:
        raise ParameterError(f"output: {output} must end with {' or '.join(WRITERS)}")
    check_window(since, until)
    with open_log(uri) as connection:
        return _write_file(connection, output, since, until)


def _write_file(
    connection: sa.Connection, output: Path, since: datetime | None, until: datetime | None
) -> int:
    """Write to a temporary name and rename the complete file to `output`."""
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    types = dict.fromkeys(feature_names(connection, since, until), pa.float64())
    count, shadowed = None, holds_shadow_predictions(connection)
    try:
        create_export_file(partial)
        while count is None:
            try:
                count = _write_rows(
                    connection, partial, output.suffix, types, since, until, shadowed
                )
            except _TextsFoundError as found:  # the file is written again
                types |= dict.fromkeys(found.features, pa.string())
        partial.rename(output)
    except OSError as error:
        raise ParameterError(
            f"output: cannot write {output}: {error.strerror}; choose another path"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return count


class _TextsFoundError(Exception):
    """Features are text that were taken for numbers."""

    def __init__(self, features: set[str]) -> None:
        super().__init__(features)
        self.features = features


def _write_rows(
    connection: sa.Connection,
    file: Path,
    suffix: str,
    types: dict[str, pa.DataType],
    since: datetime | None,
    until: datetime | None,
    shadowed: bool,
) -> int:
    """Write the predictions to `file`, and return their number.

    Raises:
        _TextsFoundError: a feature that is a number in `types` is text in some prediction.
    """
    count = 0
    with _table_writer(file, suffix, types, shadowed) as writer:
        for chunk in stream(connection, since, until, ROWS_PER_CHUNK):
            ids = [row.prediction_id for row in chunk]
            shadows = shadow_predictions_of(connection, ids) if shadowed else None
            try:
                writer.write_table(_table(chunk, types, writer.schema, shadows))
            except pa.ArrowInvalid:
                if found := _texts_in(chunk) - _texts(types):
                    raise _TextsFoundError(found) from None
                raise
            count += len(chunk)
    return count


def _texts(types: dict[str, pa.DataType]) -> set[str]:
    return {name for name, type_ in types.items() if type_ == pa.string()}


def _texts_in(rows: list[StoredPrediction]) -> set[str]:
    """Return the features that have a text in any row."""
    return {
        name
        for row in rows
        for name, value in (row.features or {}).items()
        if isinstance(value, str)
    }


class _TableWriter:
    """CSV or Parquet writer for tables of one schema."""

    def __init__(self, file: Path, suffix: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._is_csv = suffix == ".csv"
        self._writer = WRITERS[suffix](file, self._as_written(schema.empty_table()).schema)
        self.close = self._writer.close

    def write_table(self, table: pa.Table) -> None:
        """Append the rows of `table`."""
        self._writer.write_table(self._as_written(table))

    def _as_written(self, table: pa.Table) -> pa.Table:
        return _without_formulas(table) if self._is_csv else table


@contextmanager
def _table_writer(
    file: Path, suffix: str, types: dict[str, pa.DataType], shadowed: bool
) -> Iterator[_TableWriter]:
    features = dict(zip(_feature_columns(types), types.values(), strict=True))
    columns = COLUMNS_BEFORE_FEATURES | features | COLUMNS_AFTER_FEATURES
    if shadowed:
        columns |= SHADOW_COLUMNS
    writer = _TableWriter(file, suffix, pa.schema(list(columns.items())))
    try:
        yield writer
    finally:
        writer.close()


def _without_formulas(table: pa.Table) -> pa.Table:
    columns = [
        pa.compute.replace_substring_regex(column, FORMULA, r"'\1")
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=[as_text_cell(name) for name in table.column_names])


def _feature_columns(features: Iterable[str]) -> list[str]:
    """Return the column of each feature, prefixed where it would collide with a log column."""
    return [
        f"feature_{name}" if name in LOG_COLUMNS | SHADOW_COLUMNS else name for name in features
    ]


def _table(
    rows: list[StoredPrediction],
    types: dict[str, pa.DataType],
    schema: pa.Schema,
    shadows: dict[str, ShadowPrediction] | None,
) -> pa.Table:
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in LOG_COLUMNS
    }
    for name, column in zip(types, _feature_columns(types), strict=True):
        values = ((row.features or {}).get(name) for row in rows)
        columns[column] = list(map(_as_text, values) if name in _texts(types) else values)
    if shadows is not None:
        of_rows = [shadows.get(row.prediction_id) for row in rows]
        for name in SHADOW_COLUMNS:
            field = name.removeprefix("shadow_")
            columns[name] = [None if row is None else getattr(row, field) for row in of_rows]
    return pa.table(columns, schema=schema)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
