"""Inserts of many rows in few statements.

SQLite takes the values of all rows as parameters; of many rows, one for each column whose value
they share, such as the model. For PostgreSQL, the rows are one JSON document, which the server
reads: its driver would take longer to encode each value than all else.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, compress, repeat
from operator import is_
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

# The driver's values of one row, in the order of the table's columns.
Row = tuple[Any, ...]
# A statement and its parameters.
Statement = tuple[str, tuple[Any, ...]]

# Rows in one statement of SQLite. Few statements, since its module releases Python's lock around
# each; few sizes, since each is prepared once, and the module keeps 128 statements.
SIZES = (512, 256, 128, 64, *range(32, 0, -1))
# Fewer rows share no parameters: each set of shared columns is another statement.
MIN_SHARING = 64
ROWS_PER_DOCUMENT = 512


def insert_rows(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Row],
    *,
    ignore_present: bool,
    note_progress: Callable[[], None] = lambda: None,
) -> None:
    """Insert `rows` into `table`.

    Args:
        connection: A connection in a transaction.
        table: The table.
        rows: One value of the driver for each column of the table.
        ignore_present: Leave a row as it is if there is one with its primary key.
        note_progress: Called after each statement.
    """
    statements = _of_parameters if connection.dialect.name == "sqlite" else _of_documents
    for statement, parameters in statements(table, rows):
        if ignore_present:
            statement += f" ON CONFLICT ({_names(table.primary_key.columns)}) DO NOTHING"
        connection.exec_driver_sql(statement, parameters)
        note_progress()


def _of_parameters(table: sa.Table, rows: Sequence[Row]) -> Iterator[Statement]:
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            first, *others = rows[start : start + size]
            if size < MIN_SHARING:
                varying = (True,) * len(first)
            else:
                varying = tuple(map(_varies, zip(first, *others, strict=True)))
            below = chain.from_iterable(compress(row, varying) for row in others)
            yield _insert_of_parameters(table, size, varying), (*first, *below)
            start += size


def _varies(column: tuple[Any, ...]) -> bool:
    # Equal values may be of different types, or zeros of different signs.
    return not all(map(is_, column, repeat(column[0])))


@cache
def _insert_of_parameters(table: sa.Table, size: int, varying: tuple[bool, ...]) -> str:
    """Return the statement for `size` rows.

    Its parameters are the first row, then what the other rows do not share with it. Only the shared
    ones have numbers: SQLite looks for each number in the list of all.

    Args:
        table: The table.
        size: The number of rows.
        varying: Whether a column has a parameter for each row, or one for all.
    """
    first = ["?"] * len(varying)
    others = ["?" if varies else f"?{place}" for place, varies in enumerate(varying, start=1)]
    values = ", ".join(f"({', '.join(row)})" for row in [first, *[others] * (size - 1)])
    return f"{_insert_into(table)} VALUES {values}"


def _of_documents(table: sa.Table, rows: Sequence[Row]) -> Iterator[Statement]:
    names = [str(name) for name in table.columns.keys()]  # noqa: SIM118
    for start in range(0, len(rows), ROWS_PER_DOCUMENT):
        some = rows[start : start + ROWS_PER_DOCUMENT]
        document = orjson.dumps([dict(zip(names, row, strict=True)) for row in some])
        yield _insert_of_document(table), (document.decode(),)


@cache
def _insert_of_document(table: sa.Table) -> str:
    values, declared = [], []
    for name, column in table.columns.items():
        # JSON is text in the document, and stored as it is.
        is_json = isinstance(column.type, sa.JSON)
        type_ = "text" if is_json else column.type.compile(postgresql.dialect())
        values.append(f"{name}::json" if is_json else name)
        declared.append(f"{name} {type_}")
    source = f"json_to_recordset(%s::json) AS rows ({', '.join(declared)})"
    return f"{_insert_into(table)} SELECT {', '.join(values)} FROM {source}"  # noqa: S608


def _insert_into(table: sa.Table) -> str:
    return f"INSERT INTO {table.name} ({_names(table.columns)})"


def _names(columns: Any) -> str:
    return ", ".join(columns.keys())
