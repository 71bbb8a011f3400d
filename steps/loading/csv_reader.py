"""CSV files as tables in DuckDB."""

import logging
import re
from dataclasses import dataclass, replace
from enum import IntFlag, auto
from pathlib import Path
from typing import Any

import duckdb

from serving.model.values import MISSING_TEXTS
from steps.loading.csv_format import DECIMAL_COMMA, CsvFormat, csv_format
from steps.loading.dates import iso_moment, iso_time
from steps.loading.encodings import convert_to_utf_8
from steps.loading.files import SourceFile
from steps.loading.session import Session
from steps.loading.table import (
    INTEGER,
    LARGEST_INTEGER,
    ZERO_PADDED,
    Table,
    matches,
    quoted,
)
from steps.runtime.errors import DataError, SourceError

logger = logging.getLogger("ml-pipes")

SAMPLE_ROWS = 20_480
# Raised in SQL by a value that has another type than those of the sample.
MISFIT = "value of another type"


class Kind(IntFlag):
    """Kinds of texts, as SQL tests them in this order."""

    INTEGER = auto()
    LONG_INTEGER = auto()  # beyond 2^53
    HUGE_INTEGER = auto()  # beyond 64 bits
    NUMBER = auto()
    BOOLEAN = auto()
    TIME = auto()
    ZONED_TIME = auto()
    TEXT = auto()
    BLANK = auto()  # missing, but text to all who read the file in another way


INTEGERS = Kind.INTEGER | Kind.LONG_INTEGER | Kind.HUGE_INTEGER
NUMERIC = ("BIGINT", "HUGEINT", "DOUBLE")
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)"


def read_csv(session: Session, source: str, files: list[SourceFile], encoding: str = "") -> Table:
    """Read CSV files with the same columns into a table.

    Types are those of the first 20,480 rows, or of all rows if some later value has another.

    Raises:
        SourceError: a file cannot be parsed; the message names file and line.
        DataError: the files have different columns, or a name is missing or duplicated.
    """
    formats = [_format(file, encoding) for file in files]
    first = formats[0]
    for file, other in zip(files[1:], formats[1:], strict=True):
        if (other.names, other.decimal) != (first.names, first.decimal):
            raise DataError(
                f"{file.name}: the columns differ from those of {files[0].name}: "
                f"{', '.join(other.names)}; make them equal"
            )
    if first.description:
        logger.info("%s: %s", source, first.description)
    texts = _Texts.of(session, files, formats)
    try:
        table = texts.read(source)
    except duckdb.InvalidInputException as error:
        raise SourceError(_in_one_line(str(error), texts)) from None
    return _without_unnamed(_without_empty_end(table))


def _format(file: SourceFile, encoding: str) -> CsvFormat:
    try:
        return csv_format(file.path, encoding)
    except (SourceError, DataError) as error:
        raise type(error)(f"{file.name}: {error}") from None


@dataclass(frozen=True)
class _Texts:
    """CSV files as columns of text."""

    session: Session
    files: list[SourceFile]
    format: CsvFormat
    relation: str

    @classmethod
    def of(cls, session: Session, files: list[SourceFile], formats: list[CsvFormat]) -> "_Texts":
        readable = [
            SourceFile(file.name, _readable(session, place, file, format_))
            for place, (file, format_) in enumerate(zip(files, formats, strict=True))
        ]
        relation = " UNION ALL ".join(
            f"SELECT * FROM {_read_csv_call(file.path, format_)}"
            for file, format_ in zip(readable, formats, strict=True)
        )
        return cls(session, readable, formats[0], f"({relation})")

    def read(self, source: str) -> Table:
        """Create the table with the types of the first rows.

        If later rows have values of another type, the types of those columns follow from all rows.
        """
        names = self.format.names
        kinds = self._kinds([f"c{place}" for place in range(len(names))], SAMPLE_ROWS)
        kinds |= self._kinds([key for key, kind in kinds.items() if not _type(kind)], None)
        try:
            return self._create(source, kinds)
        except duckdb.Error as error:
            if MISFIT not in str(error):
                raise
        kinds |= self._kinds(self._misfits(kinds), None)
        return self._create(source, kinds)

    def _create(self, source: str, kinds: dict[str, Kind]) -> Table:
        with_blanks = {key for key, kind in kinds.items() if _has_blanks(kind)}
        table = Table.create(self.session, source, self.format.names, self._query(kinds))
        columns = [replace(c, has_texts=c.key in with_blanks) for c in table.columns]
        return replace(table, columns=columns)

    def _misfits(self, kinds: dict[str, Kind]) -> list[str]:
        """Return the columns that have values of another type."""
        typed = {key: kind for key, kind in kinds.items() if _type(kind) not in ("", "VARCHAR")}
        tests = [
            f"coalesce(bool_or({self._case(key, kind, 'false', 'true', 'false')}), false)"
            for key, kind in typed.items()
        ]
        found = self._row(f"SELECT {', '.join(tests)} FROM {self.relation}")
        return [key for key, is_misfit in zip(typed, found, strict=True) if is_misfit]

    def _kinds(self, keys: list[str], rows: int | None) -> dict[str, Kind]:
        """Return the kinds of texts in columns, in the first `rows` or in all."""
        if not keys:
            return {}
        kinds = ", ".join(f"coalesce(bit_or({self._kind(key)}), 0)" for key in keys)
        limit = f"LIMIT {rows}" if rows else ""
        found = self._row(f"SELECT {kinds} FROM (SELECT * FROM {self.relation} {limit})")
        return {key: Kind(value) for key, value in zip(keys, found, strict=True)}

    def _row(self, query: str) -> tuple[Any, ...]:
        (row,) = self.session.connection.sql(query).fetchall()
        return tuple(row)

    def _query(self, kinds: dict[str, Kind]) -> str:
        columns = [
            key
            if _type(kind) in ("", "VARCHAR")
            else f"{self._case(key, kind, 'NULL', f'error({quoted(MISFIT)})')} AS {key}"
            for key, kind in kinds.items()
        ]
        return f"SELECT {', '.join(columns)} FROM {self.relation}"

    def _kind(self, key: str) -> str:
        """Return the expression for the kind of a text, NULL if it is missing."""
        value, number = f"trim({key})", self._number(key)
        numeric = DECIMAL_COMMA if self.format.decimal == "," else NUMBER
        tests = {
            Kind.TEXT: matches(value, ZERO_PADDED),
            Kind.INTEGER: f"{matches(number, INTEGER)} AND {matches(value, numeric)} AND "
            f"abs(TRY_CAST({number} AS BIGINT)) <= {LARGEST_INTEGER}",
            Kind.LONG_INTEGER: f"{matches(number, INTEGER)} AND {matches(value, numeric)} AND "
            f"TRY_CAST({number} AS BIGINT) IS NOT NULL",
            Kind.HUGE_INTEGER: f"{matches(number, INTEGER)} AND {matches(value, numeric)} AND "
            f"TRY_CAST({number} AS HUGEINT) IS NOT NULL",
            Kind.NUMBER: f"{matches(value, numeric, 'i')} AND NOT {matches(value, INTEGER)}",
            Kind.BOOLEAN: f"lower({value}) IN ('true', 'false')",
            Kind.TIME: f"{iso_time(value)} IS NOT NULL",
            Kind.ZONED_TIME: f"{iso_moment(value)} IS NOT NULL",
        }
        cases = " ".join(f"WHEN {test} THEN {int(kind)}" for kind, test in tests.items())
        return (
            f"CASE WHEN {key} IS NULL THEN NULL WHEN {value} = '' THEN {int(Kind.BLANK)} "
            f"{cases} ELSE {int(Kind.TEXT)} END"
        )

    def _case(self, key: str, kind: Kind, missing: str, misfit: str, fit: str | None = None) -> str:
        """Return the expression for a value of a type.

        Args:
            key: the column.
            kind: the kinds of its texts, which determine its type.
            missing: the result for a missing value.
            misfit: the result for a value of another type.
            fit: the result for a value of this type; None for the value itself.
        """
        type_ = _type(kind)
        blank = missing if _has_blanks(kind) or type_ not in NUMERIC else misfit
        value = self._number(key) if type_ in NUMERIC else f"trim({key})"
        times = {"TIMESTAMP": iso_time, "TIMESTAMPTZ": iso_moment}
        converted = times[type_](value) if type_ in times else f"TRY_CAST({value} AS {type_})"
        tests = (
            [f"({value} >= '{sign}00' AND {value} < '{sign}0:')" for sign in ("", "-", "+")]
            if type_ in NUMERIC
            else []
        )
        is_fraction = " OR ".join(f"contains({value}, '{mark}')" for mark in ".eE")
        if type_ in ("BIGINT", "HUGEINT"):
            tests.append(is_fraction)
        elif type_ == "DOUBLE":
            tests.append(f"(length({value}) > 15 AND NOT ({is_fraction}))")
        if type_ in NUMERIC and self.format.decimal == ",":
            tests.append(f"NOT {matches(f'trim({key})', DECIMAL_COMMA)}")
        checks = " ".join(f"WHEN {test} THEN {misfit}" for test in tests)
        result = (
            f"coalesce({converted}, {misfit})"
            if fit is None
            else f"CASE WHEN {converted} IS NULL THEN {misfit} ELSE {fit} END"
        )
        return (
            f"CASE WHEN {key} IS NULL THEN {missing} WHEN trim({key}) = '' THEN {blank} "
            f"{checks} ELSE {result} END"
        )

    def _number(self, key: str) -> str:
        """Return a number in SQL's notation."""
        if self.format.decimal == ",":
            return f"replace(replace(trim({key}), '.', ''), ',', '.')"
        return f"trim({key})"


def _type(kinds: Kind) -> str:
    """Return the type of a column by the kinds of its values; empty without values."""
    kinds &= ~Kind.BLANK
    if not kinds:
        return ""
    if not kinds & ~INTEGERS:
        return "HUGEINT" if Kind.HUGE_INTEGER in kinds else "BIGINT"
    if not kinds & ~(Kind.INTEGER | Kind.NUMBER):
        return "DOUBLE"
    if kinds == Kind.BOOLEAN:
        return "BOOLEAN"
    if not kinds & ~(Kind.TIME | Kind.ZONED_TIME):
        return "TIMESTAMPTZ" if Kind.ZONED_TIME in kinds else "TIMESTAMP"
    return "VARCHAR"


def _has_blanks(kinds: Kind) -> bool:
    """Return whether a column of numbers has blanks, too."""
    return Kind.BLANK in kinds and _type(kinds) in NUMERIC


def _readable(session: Session, place: int, file: SourceFile, format_: CsvFormat) -> Path:
    """Return a file that DuckDB can read: the same, or a copy in UTF-8."""
    if format_.is_plain:
        return file.path
    target = session.folder / f"{place}.utf8.csv"
    try:
        convert_to_utf_8(file.path, format_.encoding, target)
    except SourceError as error:
        raise SourceError(f"{file.name}: {error}") from None
    return target


def _read_csv_call(file: Path, format_: CsvFormat) -> str:
    columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(format_.names)))
    newline = {"\n": r"\n", "\r\n": r"\r\n"}[format_.newline or "\n"]
    return (
        f"read_csv({quoted(str(file))}, auto_detect=false, header=true, columns={{{columns}}}, "
        f"delim={quoted(format_.delimiter)}, quote='\"', escape='\"', new_line='{newline}', "
        f"nullstr=[{', '.join(map(quoted, sorted(MISSING_TEXTS)))}], allow_quoted_nulls=true, "
        "max_line_size=16000000, compression='none')"
    )


def _in_one_line(message: str, texts: _Texts) -> str:
    """Return a parsing error of DuckDB as one line that names file, line, cause and remedy."""
    names = {str(file.path): file.name for file in texts.files}
    path = re.search(r"(?m)^\s*file = (.*)$", message)
    name = names.get(path[1], texts.files[0].name) if path else texts.files[0].name
    line = re.search(r"CSV Error on Line: (\d+)", message)
    place = f"{name}: line {line[1]}" if line else name
    if found := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return (
            f"{place}: {found[2]} values for {found[1]} columns; complete the line, or quote "
            f"values that contain {texts.format.delimiter!r}"
        )
    if "unterminated quote" in message:
        return f"{place}: a quote is not closed, or text follows it; double quotes within values"
    if "Maximum line size" in message:
        return f"{place}: the line is longer than 16 MB; check the quotes before it"
    if "Invalid unicode" in message:
        return f"{place}: not in the encoding of the lines before; append #encoding=NAME"
    return (
        f"{place}: cannot be parsed as CSV: {message.splitlines()[0]}; check quotes and line ends"
    )


def _without_empty_end(table: Table) -> Table:
    """Delete rows without any value after the last one with a value."""
    present = " OR ".join(f"{column.key} IS NOT NULL" for column in table.columns)
    (empty,) = (
        table.row(f"SELECT NOT ({present}) FROM loaded ORDER BY rowid DESC LIMIT 1")
        if table.rows
        else (False,)
    )
    if empty:
        (last,) = table.row(f"SELECT coalesce(max(rowid), -1) FROM loaded WHERE {present}")
        table.sql(f"SELECT * FROM loaded WHERE rowid <= {last}").to_table("kept")
        table.session.connection.execute("DROP TABLE loaded; ALTER TABLE kept RENAME TO loaded")
    return table


def _without_unnamed(table: Table) -> Table:
    """Leave out columns without a name that count the rows, or are empty.

    Raises:
        DataError: one has other values.
    """
    left_out = []
    for place, column in enumerate(table.columns):
        if column.name.strip():
            continue
        is_index = place == 0 and column.is_integer
        query = "SELECT count(c), coalesce(max(c) - min(c) + 1, 0), count(DISTINCT c)"
        values, extent, distinct = (
            table.row(f"{query} FROM (SELECT {column.key} AS c FROM loaded)")
            if is_index
            else (*table.row(f"SELECT count({column.key}) FROM loaded"), 0, 0)
        )
        if values and not (is_index and values == extent == distinct):
            raise DataError(f"{table.source}: column {place + 1} has no name; add one")
        left_out.append(column.key)
        reason = "an unnamed row index" if values else "unnamed and empty"
        logger.info("%s: ignoring column %s, %s", table.source, place + 1, reason)
    return table.without(left_out)
