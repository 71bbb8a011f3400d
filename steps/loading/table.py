"""Tables in DuckDB."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from steps.loading.session import Session

NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL",
)  # fmt: skip
# A double has no larger integers without gaps.
LARGEST_INTEGER = 2**53
# Texts that are whole numbers, and such that are no numbers: postal codes.
INTEGER, ZERO_PADDED = r"[+-]?\d+", r"[+-]?0\d.*"
FRACTIONS = ("FLOAT", "DOUBLE", "DECIMAL")
TIMES = ("DATE", "TIMESTAMP")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its name in the source.
        key: its name in DuckDB, whose names ignore case.
        type: its type in DuckDB.
        has_texts: whether some of its numbers or missing values are text in the source.
    """

    name: str
    key: str
    type: str
    has_texts: bool = False

    @property
    def kind(self) -> str:
        """What the values are: "number", "boolean", "time", "text" or "other"."""
        for kind, types in KINDS.items():
            if self.type.startswith(types) and not self.type.endswith("]"):  # a list
                return kind
        return "other"

    @property
    def is_integer(self) -> bool:
        """Whether the values are whole numbers."""
        has_fractions = self.type.startswith(FRACTIONS) and not self.type.endswith(",0)")
        return self.kind == "number" and not has_fractions


KINDS: dict[str, tuple[str, ...]] = {
    "number": NUMBERS,
    "boolean": ("BOOLEAN",),
    "time": TIMES,
    "text": ("VARCHAR", "ENUM"),
}


@dataclass(frozen=True)
class Table:
    """A table in DuckDB called `loaded`, whose `rowid` counts its rows in the source's order.

    Attributes:
        session: the database that holds it.
        source: the name of the source in messages.
        columns: the columns in the order of the source.
    """

    session: Session
    source: str
    columns: list[Column]

    @classmethod
    def create(cls, session: Session, source: str, names: Sequence[str], query: str) -> "Table":
        """Create the table from `query`, whose columns have the keys c0, c1 and so on."""
        session.connection.execute(f"CREATE OR REPLACE TABLE loaded AS {query}")
        types = session.connection.sql("SELECT * FROM loaded").types
        columns = [
            Column(name, f"c{place}", str(type_))
            for place, (name, type_) in enumerate(zip(names, types, strict=True))
        ]
        return cls(session, source, columns)

    @property
    def names(self) -> list[str]:
        """The names of the columns in the source."""
        return [column.name for column in self.columns]

    @property
    def rows(self) -> int:
        """The number of rows."""
        (count,) = self.row("SELECT count(*) FROM loaded")
        return int(count)

    def column(self, name: str) -> Column | None:
        """Return the column with a name; None if there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def sql(self, query: str) -> duckdb.DuckDBPyRelation:
        """Return the result of a query, not yet computed."""
        return self.session.connection.sql(query)

    def row(self, query: str) -> tuple[Any, ...]:
        """Return the only row of the result of a query."""
        (row,) = self.sql(query).fetchall()
        return tuple(row)

    def without(self, keys: Sequence[str]) -> "Table":
        """Return the table without the columns with these keys."""
        columns = [column for column in self.columns if column.key not in keys]
        return Table(self.session, self.source, columns)


def quoted(text: str) -> str:
    """Return `text` as a string in SQL."""
    return "'" + text.replace("'", "''") + "'"


def matches(value: str, pattern: str, options: str = "") -> str:
    """Return the condition that a whole text matches a pattern."""
    return f"regexp_full_match({value}, {quoted(pattern)}, {quoted(options)})"


def rows_of(file: Path, keys: Sequence[str]) -> str:
    """Return the rows of a Parquet file, whose first columns get the names `keys`.

    DuckDB ignores the case of names, which may be all that tells two columns apart.
    """
    return f"read_parquet({quoted(str(file))}) AS t({', '.join(keys)})"
