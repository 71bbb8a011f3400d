"""Export of the prediction log to one CSV or Parquet file."""

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

from serving.log.database.schema import READ_COLUMNS, predictions
from serving.log.existing import open_log
from serving.log.formulas import FORMULA, as_text_cell
from serving.log.queries import feature_names, in_order, with_latest_label, within
from serving.log.shadow_predictions import holds_shadow_predictions, with_latest_shadow
from serving.private_files import create_export_file
from steps.prediction_log.arrow_tables import TIMESTAMP, arrow_type, for_each_table
from steps.prediction_log.feature_decoder import FeatureDecoder, as_texts, count_texts, is_text
from steps.runtime.errors import ParameterError
from steps.runtime.parameters import check_window

ROWS_PER_CHUNK = 10_000
CSV, PARQUET = ".csv", ".parquet"
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
    column.name: arrow_type(column)
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
    if output.suffix not in (CSV, PARQUET):
        raise ParameterError(f"output: {output} must end with {' or '.join((CSV, PARQUET))}")
    check_window(since, until)
    with open_log(uri) as connection:
        return _write_file(connection, output, since, until)


def _write_file(
    connection: sa.Connection, output: Path, since: datetime | None, until: datetime | None
) -> int:
    """Write to a temporary name and rename the complete file to `output`."""
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    types = dict.fromkeys(feature_names(connection, since, until), pa.float64())
    dialect = connection.dialect.name
    query = within(with_latest_label(dialect), since, until).order_by(*in_order())
    if holds_shadow_predictions(connection):
        query = with_latest_shadow(query, dialect)
    count = None
    try:
        create_export_file(partial)
        while count is None:
            try:
                count = _write_rows(connection, partial, output.suffix, types, query)
            except _TextsFoundError as found:  # the file is written again
                connection.rollback()
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

    def __init__(self, features: list[str]) -> None:
        super().__init__(features)
        self.features = features


def _write_rows(
    connection: sa.Connection,
    file: Path,
    suffix: str,
    types: dict[str, pa.DataType],
    query: sa.Select[Any],
) -> int:
    """Write the predictions that `query` selects to `file`, and return their number.

    Raises:
        _TextsFoundError: a feature that is a number in `types` is text in some prediction.
    """
    with _table_writer(file, suffix, types, query) as writer, FeatureDecoder() as decoder:

        def write(rows: pa.Table) -> None:
            writer.write_table(_with_features(rows, types, writer.schema, decoder))

        return for_each_table(connection, query, ROWS_PER_CHUNK, write)


def _with_features(
    rows: pa.Table, types: dict[str, pa.DataType], schema: pa.Schema, decoder: FeatureDecoder
) -> pa.Table:
    """Return rows of the log with a column for each feature.

    Raises:
        _TextsFoundError: a feature that is a number in `types` is text in some row.
    """
    stored = rows["features"].combine_chunks()
    texts = [name for name, type_ in types.items() if type_ == pa.string()]
    numbers = [name for name, type_ in types.items() if type_ != pa.string()]
    tokens = decoder.tokens(stored, texts)
    if count_texts(stored) != sum(map(_number_of_texts, tokens)):  # perhaps among the numbers
        others = zip(numbers, decoder.tokens(stored, numbers), strict=True)
        if found := [name for name, values in others if _number_of_texts(values)]:
            raise _TextsFoundError(found)
    features = dict(zip(texts, map(as_texts, tokens), strict=True))
    features |= zip(numbers, decoder.numbers(stored, numbers), strict=True)
    columns = {column: features[name] for name, column in _feature_columns(types).items()}
    columns |= {name: rows[name] for name in rows.column_names if name != "features"}
    return pa.table([columns[name] for name in schema.names], schema.names).cast(schema)


def _number_of_texts(tokens: pa.Array) -> int:
    return pa.compute.sum(is_text(tokens)).as_py() or 0


class _TableWriter:
    """CSV or Parquet writer for tables of one schema."""

    def __init__(self, file: Path, suffix: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._is_csv = suffix == CSV
        written = self._as_written(schema.empty_table()).schema
        # Numbers rarely repeat: a dictionary of them would take most of the time.
        texts = [field.name for field in written if pa.types.is_string(field.type)]
        self._writer = (
            pa.csv.CSVWriter(file, written)
            if self._is_csv
            else pa.parquet.ParquetWriter(file, written, use_dictionary=texts)
        )
        self.close = self._writer.close

    def write_table(self, table: pa.Table) -> None:
        """Append the rows of `table`."""
        self._writer.write_table(self._as_written(table))

    def _as_written(self, table: pa.Table) -> pa.Table:
        return _without_formulas(table) if self._is_csv else table


@contextmanager
def _table_writer(
    file: Path, suffix: str, types: dict[str, pa.DataType], query: sa.Select[Any]
) -> Iterator[_TableWriter]:
    features = {column: types[name] for name, column in _feature_columns(types).items()}
    columns = COLUMNS_BEFORE_FEATURES | features | COLUMNS_AFTER_FEATURES
    if set(SHADOW_COLUMNS) <= set(query.selected_columns.keys()):
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


def _feature_columns(features: Iterable[str]) -> dict[str, str]:
    """Return the column of each feature, prefixed where it would collide with a log column."""
    return {
        name: f"feature_{name}" if name in LOG_COLUMNS | SHADOW_COLUMNS else name
        for name in features
    }
