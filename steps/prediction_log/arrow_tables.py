"""Rows of the prediction log as Arrow tables, in chunks.

A row has no objects of Python on the way: PostgreSQL sends CSV, which Arrow reads, and SQLite's
module makes none but the values of one chunk.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from serving.log.database.schema import UtcDateTime

TIMESTAMP = pa.timestamp("us", tz="UTC")
ARROW_TYPES = {
    sa.String: pa.string(),
    sa.Integer: pa.int32(),
    sa.Double: pa.float64(),
    sa.JSON: pa.string(),
    UtcDateTime: TIMESTAMP,
}


def arrow_type(column: sa.ColumnElement[Any]) -> pa.DataType:
    """Return the Arrow type of a column of the log."""
    return ARROW_TYPES[type(column.type)]


def table_without_rows(columns: Sequence[sa.ColumnElement[Any]]) -> pa.Table:
    """Return a table of columns of the log."""
    return pa.schema([(column.name, arrow_type(column)) for column in columns]).empty_table()


def for_each_table(
    connection: sa.Connection, query: sa.Select[Any], rows: int, work: Callable[[pa.Table], None]
) -> int:
    """Call `work` on the tables of `read_tables`, in a thread of its own while the next is read.

    Returns:
        The number of rows.
    """
    count = 0
    working: Future[None] | None = None
    with ThreadPoolExecutor(1) as thread, closing(read_tables(connection, query, rows)) as tables:
        for table in tables:
            if working is not None:
                working.result()
            working = thread.submit(work, table)
            count += len(table)
        if working is not None:
            working.result()
    return count


def read_tables(
    connection: sa.Connection, query: sa.Select[Any], rows: int
) -> Generator[pa.Table, None, None]:
    """Yield the rows that a query of the log selects, in tables of up to `rows` rows.

    JSON is text as it is stored. There is no table without rows.
    """
    read = _from_sqlite if connection.dialect.name == "sqlite" else _from_postgresql
    yield from read(connection, query, rows)


def _from_sqlite(
    connection: sa.Connection, query: sa.Select[Any], rows: int
) -> Generator[pa.Table, None, None]:
    columns = query.selected_columns
    stored = _with_columns(query, _as_stored_in_sqlite)
    # Rows of SQLAlchemy would take as long as all else.
    cursor = connection.execute(stored).cursor
    while len(table := _table_of(cursor.fetchmany(rows), columns)):
        yield table


def _table_of(rows: Sequence[Any], columns: Any) -> pa.Table:
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [_array(column, value) for column, value in zip(columns, values, strict=True)]
    return pa.table(arrays, names=columns.keys())


def _with_columns(query: sa.Select[Any], convert: Any) -> sa.Select[Any]:
    columns = [convert(column) for column in query.selected_columns]
    return query.with_only_columns(*columns)


def _as_stored_in_sqlite(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    is_text = isinstance(column.type, UtcDateTime | sa.JSON)
    return sa.type_coerce(column, sa.String) if is_text else column


def _array(column: sa.ColumnElement[Any], values: tuple[Any, ...]) -> pa.Array:
    if not isinstance(column.type, UtcDateTime):
        return pa.array(values, arrow_type(column))
    try:
        return pa.array(values, pa.string()).cast(pa.timestamp("us")).cast(TIMESTAMP)
    except pa.ArrowInvalid:  # labels inserted by hand may have a time zone
        return pa.array([text and _moment(text) for text in values], TIMESTAMP)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _from_postgresql(
    connection: sa.Connection, query: sa.Select[Any], rows: int
) -> Generator[pa.Table, None, None]:
    schema = table_without_rows([*query.selected_columns]).schema
    compiled = _with_columns(query, _as_copied).compile(dialect=connection.dialect)
    copy = f"COPY ({compiled}) TO STDOUT (FORMAT csv, ENCODING 'UTF8')"
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(copy, compiled.params) as lines:
        while chunk := b"".join(islice(lines, rows)):  # the protocol sends a row at a time
            yield _parsed(chunk, schema)


def _as_copied(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column whose text does not depend on settings of the server."""
    if not isinstance(column.type, UtcDateTime):
        return column
    return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger)


def _parsed(chunk: bytes, schema: pa.Schema) -> pa.Table:
    types = {field.name: pa.int64() if field.type == TIMESTAMP else field.type for field in schema}
    table = pa.csv.read_csv(
        pa.BufferReader(chunk),
        pa.csv.ReadOptions(column_names=schema.names, block_size=len(chunk) + 1, use_threads=False),
        pa.csv.ParseOptions(newlines_in_values=True),
        # Of PostgreSQL, a missing value is empty, and an empty text has quotation marks.
        pa.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return table.cast(schema)


def times_of(moments: pa.ChunkedArray) -> "npt.NDArray[np.datetime64]":
    """Return points in time in UTC, without a zone, shape (n_rows,)."""
    times: npt.NDArray[np.datetime64] = moments.to_numpy().astype("datetime64[us]")
    return times
