"""CSV bodies: a header of column names, and lines with one value for each."""

import csv
import io
from collections.abc import Iterator

from serving.web.json_body import MAX_NAMES, check_not_compressed, shown
from serving.web.problems import invalid


def parse_csv(body: bytes, max_rows: int) -> dict[str, list[str]]:
    """Return the columns of texts in `body`.

    Raises:
        InvalidRequestError: the body is not CSV in UTF-8, a name is repeated, a line has more or
            fewer values than the header, or there are too many lines.
    """
    lines = _lines(body)
    header = next(lines, None)
    if header is None:
        raise invalid("body", "must have a header with column names", status=400)
    check_unique(header)
    rows: list[list[str]] = []
    for row, line in enumerate(lines):
        if row >= max_rows:
            rule = f"must have at most {max_rows} rows, has more: send several requests"
            raise invalid("body", rule, status=413)
        if len(line) != len(header):
            rule = f"has {len(line)} values, but the header has {len(header)}"
            raise invalid("body", rule, row)
        rows.append(line)
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return dict(zip(header, map(list, columns), strict=True))


def parse_fields(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return a form's fields as columns of one row.

    Raises:
        InvalidRequestError: a field is repeated.
    """
    check_unique([name for name, _ in fields])
    return {name: [text] for name, text in fields}


def check_unique(names: list[str]) -> None:
    """Check that column names differ.

    Raises:
        InvalidRequestError: a name is repeated.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise invalid(shown(name) or "body", "must be given once, is a duplicate column name")
        seen.add(name)


def _lines(body: bytes) -> Iterator[list[str]]:
    """Yield the lines that are not blank."""
    check_not_compressed(body)
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise invalid("body", f"must be CSV in UTF-8: byte {error.start}", status=400) from None
    reader = csv.reader(map(_checked_line, io.StringIO(text, newline="")), strict=True)
    try:
        yield from (line for line in reader if line)
    except csv.Error as error:
        raise invalid("body", f"line {reader.line_num} must be CSV: {error}", status=400) from None


def _checked_line(line: str) -> str:
    if line.count(",") > MAX_NAMES:
        raise invalid("body", f"must have at most {MAX_NAMES} columns", status=413)
    return line
