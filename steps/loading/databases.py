"""Tables of SQL databases, streamed to Parquet files."""

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from serving.errors import one_line
from steps.loading.files import SourceFile
from steps.loading.table import LARGEST_INTEGER
from steps.runtime.errors import DataError, ParameterError, SourceError

ROWS_AT_ONCE = 20_000
PASSWORD_VARIABLE = "MLPIPES_DATA_PASSWORD"  # noqa: S105
TABLE_OPTION = "table"
# psycopg 3 is what the prediction log uses; SQLAlchemy's own default may be another driver.
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def is_database(data: str) -> bool:
    """Return whether the parameter `data` is the URL of a database that SQLAlchemy knows."""
    scheme, separator, _ = data.partition("://")
    if not separator or scheme in fsspec.available_protocols():
        return False
    try:
        sa.make_url(f"{DRIVERS.get(scheme, scheme)}://").get_dialect()
    except (ArgumentError, NoSuchModuleError, ImportError):
        return False
    return True


def export_to_parquet(data: str, query: str, folder: Path) -> list[SourceFile]:
    """Write the rows of a table or query to Parquet files, through a server-side cursor.

    Args:
        data: the URL of the database, with `?table=NAME` unless there is a query. The password
            comes from MLPIPES_DATA_PASSWORD, or from where the driver looks itself, such as
            PGPASSWORD and ~/.pgpass.
        query: a file with a SQL query; empty for a table.
        folder: where to write.

    Returns:
        Files whose types differ where those of the rows do.

    Raises:
        ParameterError: the URL contains a password, or does not name a table.
        SourceError: the database cannot be reached, or refuses the query.
        DataError: there are no rows, or a value has no type of a table.
    """
    url, table = _url(data)
    statement = _statement(table, query)
    source = url.render_as_string(hide_password=True)
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            if table and not query:
                statement = _select(connection, table)
            result = connection.execution_options(
                stream_results=True, max_row_buffer=ROWS_AT_ONCE
            ).execute(statement)
            return _write(result, source, folder)
    except (SQLAlchemyError, ImportError, ArithmeticError, ValueError) as error:
        cause = getattr(error, "orig", None) or error
        raise SourceError(f"{source}: {one_line(cause)}") from None
    finally:
        engine.dispose()


def _url(data: str) -> tuple[sa.URL, str]:
    """Return the URL to connect to, and the name of the table.

    Raises:
        ParameterError: it contains a password.
    """
    scheme, _, rest = data.partition("://")
    try:
        url = sa.make_url(f"{DRIVERS.get(scheme, scheme)}://{rest}")
    except (ArgumentError, ValueError):
        raise ParameterError("data: not a URL of a database; see docs/your-own-data.md") from None
    if url.password or "password" in url.query:
        raise ParameterError(
            "data: the URL contains a password, and MLflow records parameters; remove it and set "
            f"{PASSWORD_VARIABLE}, or PGPASSWORD or ~/.pgpass for PostgreSQL"
        )
    table = url.query.get(TABLE_OPTION, "")
    if isinstance(table, tuple):
        raise ParameterError("data: the URL names several tables; name one")
    url = url.difference_update_query([TABLE_OPTION])
    if password := os.environ.get(PASSWORD_VARIABLE):
        url = url.set(password=password)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise SourceError(f"{data}: no such file")
    return url, table


def _statement(table: str, query: str) -> sa.Executable:
    if bool(table) == bool(query):
        raise ParameterError(
            "data: a database needs either ?table=NAME in its URL or -P query=FILE.sql"
        )
    if not query:
        return sa.text("")
    try:
        text = Path(query).read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"query: {query}: cannot be read: {one_line(error)}") from None
    if not text:
        raise ParameterError(f"query: {query}: the file is empty")
    return sa.text(text.replace(":", r"\:"))


def _select(connection: sa.Connection, name: str) -> sa.Select[Any]:
    """Return the query of a whole table, `SCHEMA.NAME` or `NAME`, with the types of its columns."""
    schema, _, table = name.rpartition(".")
    found = sa.Table(table, sa.MetaData(), schema=schema or None, autoload_with=connection)
    return sa.select(found)


def _write(result: sa.CursorResult[Any], source: str, folder: Path) -> list[SourceFile]:
    """Write the rows to as few files as their types allow."""
    names = list(result.keys())
    files: list[SourceFile] = []
    writer: pa.parquet.ParquetWriter | None = None
    done = 0
    for rows in chain(result.partitions(ROWS_AT_ONCE), [[]]):
        batch = _table(names, rows, source, done)
        done += len(rows)
        if not rows and files:
            break
        if writer is None or writer.schema != batch.schema:
            if writer is not None:
                writer.close()
            files.append(SourceFile(source, folder / f"{len(files)}.parquet"))
            writer = pa.parquet.ParquetWriter(files[-1].path, batch.schema)
        writer.write_table(batch)
    if writer is not None:
        writer.close()
    return files


def _table(names: list[str], rows: Sequence[Sequence[Any]], source: str, done: int) -> pa.Table:
    columns: Iterator[Sequence[Any]] = zip(*rows, strict=True) if rows else iter([[]] * len(names))
    arrays = []
    for name, values in zip(names, columns, strict=True):
        try:
            arrays.append(_array(values))
        except (
            pa.ArrowInvalid,
            pa.ArrowTypeError,
            pa.ArrowNotImplementedError,
            TypeError,
        ) as error:
            raise DataError(
                f"{source}: column {name}: rows {done + 1:,} to {done + len(rows):,} mix types "
                f"or contain an unsupported one ({one_line(error)}); cast the column in a query"
            ) from None
    return pa.Table.from_arrays(arrays, names)


def _array(values: Sequence[Any]) -> pa.Array:
    """Return values in Arrow: decimals as text where they have fractions, times in UTC."""
    known = next((value for value in values if value is not None), None)
    if isinstance(known, Decimal):
        return _decimals(values)
    if isinstance(known, dt.datetime):
        zone = "UTC" if known.tzinfo is not None else None
        return pa.array(values, pa.timestamp("us", zone))
    if any(isinstance(value, float) for value in values):
        return pa.array(
            [None if value is None else _double(value) for value in values], pa.float64()
        )
    return pa.array(values)


def _decimals(values: Sequence[Decimal | None]) -> pa.Array:
    """Return decimals as integers if all are, so that large ones are refused; else as doubles."""
    known: list[Decimal] = [v for v in values if v is not None and not v.is_nan()]
    if all(value.is_finite() and value == value.to_integral_value() for value in known):
        whole = [None if value is None or value.is_nan() else int(value) for value in values]
        return pa.array(whole, pa.decimal128(38, 0))
    return pa.array([None if value is None else _double(value) for value in values], pa.float64())


def _double(value: Any) -> float:
    is_exact = isinstance(value, (int, Decimal))
    if is_exact and abs(value) > LARGEST_INTEGER and value == int(value):
        raise TypeError(f"{value} is beyond 2^53, where numbers are no longer exact")
    return float(value)
