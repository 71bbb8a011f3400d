"""The format of CSV files: encoding, delimiter, decimal mark and header."""

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from steps.loading.encodings import UTF_8, decoded, encoding_of
from steps.runtime.errors import DataError, SourceError

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_LINES = 200
DECIMAL_COMMA = r"[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?([eE][+-]?\d+)?"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
PLAIN_ENCODINGS = (UTF_8, "utf-8-sig", "ascii")


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written.

    Attributes:
        encoding: a codec of Python.
        delimiter: the character between two values.
        decimal: "." or ",".
        names: of the columns, as in the first line.
        newline: "" if lines end in different ways, or in CR alone; DuckDB reads neither.
    """

    encoding: str
    delimiter: str
    decimal: str
    names: list[str]
    newline: str

    @property
    def is_plain(self) -> bool:
        """Whether DuckDB can read the file as it is."""
        return self.encoding in PLAIN_ENCODINGS and bool(self.newline)

    @property
    def description(self) -> str:
        """What is unusual about the format, in words; empty if nothing is."""
        marks = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
        found = [f"encoding {self.encoding}"] if self.encoding not in PLAIN_ENCODINGS else []
        if self.delimiter in marks:
            found.append(f"separated by {marks[self.delimiter]}")
        if self.decimal == ",":
            found.append("decimal commas")
        return ", ".join(found)


def csv_format(file: Path, encoding: str = "") -> CsvFormat:
    """Return the format of a CSV file.

    Args:
        file: the file.
        encoding: of the file; empty to recognise it.

    Raises:
        SourceError: the file is empty or no text.
        DataError: a name is missing or duplicated.
    """
    encoding = encoding or encoding_of(file)
    text = next(decoded(file, encoding), "").lstrip("\ufeff")
    if "\0" in text:
        raise SourceError("neither CSV nor Parquet: it contains zero bytes; export it as CSV")
    if not text.strip():
        raise SourceError("the file is empty; provide a header and rows")
    delimiter, rows = _delimited(text)
    names, values = rows[0], rows[1:]
    check_names(names)
    _check_header(names, values)
    decimal = "," if delimiter != "," and _has_decimal_commas(values) else "."
    with file.open("rb") as stream:
        newline = _newline(stream.read(2**16)) if encoding in PLAIN_ENCODINGS else "\n"
    return CsvFormat(encoding, delimiter, decimal, names, newline)


def check_names(names: list[str]) -> None:
    """Check that no column name is repeated: DuckDB would rename it.

    Raises:
        DataError: two columns have one name.
    """
    if repeated := {name for name in names if name and names.count(name) > 1}:
        raise DataError(f"column {min(repeated)}: duplicate column name; rename one of them")


def _check_header(names: list[str], values: list[list[str]]) -> None:
    """Check that the first line contains names: values there would be lost as names."""
    if values and all(NUMBER.fullmatch(name.strip()) for name in names if name):
        raise SourceError(
            f"line 1: {', '.join(names[:3])}: the names of the columns are missing; add a header"
        )


def _delimited(text: str) -> tuple[str, list[list[str]]]:
    """Return the delimiter and the first rows: the one that gives most rows equally many values.

    Of several, it is the one that gives most values.
    """
    found = {}
    for delimiter in DELIMITERS:
        rows = _rows(text, delimiter)
        equal = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        found[delimiter] = (len(rows[0]) > 1, equal > 0.9, len(rows[0])), rows
    best = max(found, key=lambda delimiter: found[delimiter][0])
    return best, found[best][1]


def _rows(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = [row for row in islice(reader, SAMPLE_LINES) if row]
    except csv.Error as error:
        raise SourceError(f"neither CSV nor Parquet: {error}") from None
    return rows or [[""]]


def _has_decimal_commas(rows: list[list[str]]) -> bool:
    """Return whether a column has numbers only, and some of them with a comma."""
    for column in zip(*rows, strict=False):
        values = [value.strip() for value in column if value.strip()]
        if any("," in value for value in values) and all(
            re.fullmatch(DECIMAL_COMMA, value) or not any(map(str.isdigit, value))
            for value in values
        ):
            return True
    return False


def _newline(head: bytes) -> str:
    """Return how lines end, empty for CR alone and for a mixture."""
    crlf = head.count(b"\r\n")
    if head.count(b"\r") > crlf or 0 < crlf < head.count(b"\n"):
        return ""
    return "\r\n" if crlf else "\n"
