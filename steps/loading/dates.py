"""Formats of dates in text."""

from dataclasses import dataclass

from serving.model.values import ISO_8601, ISO_UNZONED
from steps.loading.table import Table, quoted

# The formats of the user's texts that are not ISO 8601, each alone or with a time.
DATES = {
    "%d.%m.%Y": r"\d{1,2}\.\d{1,2}\.\d{4}",
    "%d/%m/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%m/%d/%Y": r"\d{1,2}/\d{1,2}/\d{4}",
    "%d-%m-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%m-%d-%Y": r"\d{1,2}-\d{1,2}-\d{4}",
    "%Y/%m/%d": r"\d{4}/\d{1,2}/\d{1,2}",
}
TIMES = {
    "": "",
    " %H:%M": r" \d{1,2}:\d{2}",
    " %H:%M:%S": r" \d{1,2}:\d{2}:\d{2}",
    " %I:%M %p": r" \d{1,2}:\d{2} [AaPp][Mm]",
    " %I:%M:%S %p": r" \d{1,2}:\d{2}:\d{2} [AaPp][Mm]",
}
# Texts of this kind are worth trying.
DATE_LIKE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([ T].*)?"


@dataclass(frozen=True)
class DateFormat:
    """The format that all texts of a column have.

    Attributes:
        strptime: the format; empty for ISO 8601.
        value: the expression of a text as TIMESTAMP, in UTC.
    """

    strptime: str
    value: str


def date_format(table: Table, text: str) -> DateFormat | str | None:
    """Return the format of the dates in a column of text.

    Args:
        table: the table.
        text: the expression of the column, NULL where a value is missing.

    Returns:
        The format; two formats that all texts have, in words; or None if no format fits.
    """
    formats = {
        date + time: f"regexp_full_match({text}, {quoted(pattern + clock)}) "
        f"AND {_parsed(text, date + time)} IS NOT NULL"
        for date, pattern in DATES.items()
        for time, clock in TIMES.items()
    }
    formats[""] = f"{_parsed(text, '')} IS NOT NULL"
    known = f"FROM loaded WHERE {text} IS NOT NULL"
    formats = _fitting(table, formats, f"{known} LIMIT 1")  # most fit no text at all
    fitting = list(_fitting(table, formats, known))
    if len(fitting) > 1:  # no value tells days and months apart
        return " or ".join(fitting)
    return DateFormat(fitting[0], _parsed(text, fitting[0])) if fitting else None


def iso_time(text: str) -> str:
    """Return the expression of a text in ISO 8601 without a zone as TIMESTAMP, else NULL."""
    is_iso = f"regexp_full_match({text}, {quoted(ISO_UNZONED)})"
    return f"CASE WHEN {is_iso} THEN TRY_CAST({text} AS TIMESTAMP) END"


def iso_moment(text: str) -> str:
    """Return the expression of a text in ISO 8601 as TIMESTAMPTZ, else NULL."""
    # DuckDB knows no blank before a zone and confuses UTC with the names of other zones.
    spelled = f"replace(replace({text}, 'UTC', 'Z'), ' Z', 'Z')"
    spelled = f"replace(replace({spelled}, ' +', '+'), ' -', '-')"
    is_iso = f"regexp_full_match({text}, {quoted(ISO_8601.pattern)})"
    return f"CASE WHEN {is_iso} THEN TRY_CAST({spelled} AS TIMESTAMPTZ) END"


def _fitting(table: Table, formats: dict[str, str], rows: str) -> dict[str, str]:
    """Return the formats whose condition all rows meet."""
    if not formats:
        return {}
    tests = ", ".join(f"bool_and({test})" for test in formats.values())
    found = table.row(f"SELECT {tests} FROM (SELECT * {rows})")
    return {name: formats[name] for name, fits in zip(formats, found, strict=True) if fits}


def _parsed(text: str, format_: str) -> str:
    if format_:
        return f"try_strptime({text}, {quoted(format_)})"
    return f"CAST({iso_moment(text)} AS TIMESTAMP)"
