"""Inserts of many rows in few statements."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import sqlalchemy as sa

# The driver's values of one row, in the order of the table's columns.
Row = tuple[Any, ...]

# Rows in one statement. Few statements, since SQLite's module releases Python's lock around
# each; few sizes, since each size is prepared once. PostgreSQL takes at most 65,535 values.
SIZES = (512, 64, 8, 1)


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
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            flat = tuple(chain.from_iterable(rows[start : start + size]))
            statement = _insert_statement(table, size, connection.dialect.name, ignore_present)
            connection.exec_driver_sql(statement, flat)
            note_progress()
            start += size


@cache
def _insert_statement(table: sa.Table, size: int, dialect: str, ignore_present: bool) -> str:
    columns = table.c.keys()
    values = f"({', '.join(['?' if dialect == 'sqlite' else '%s'] * len(columns))})"
    key = ", ".join(table.primary_key.columns.keys())
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {', '.join([values] * size)}"  # noqa: S608
        f"{f' ON CONFLICT ({key}) DO NOTHING' if ignore_present else ''}"
    )
