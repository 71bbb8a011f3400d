"""Columns of a table: which are features, which are left out, and why."""

import re
from dataclasses import dataclass
from typing import Any

from serving.model.features import Feature
from steps.loading.kinds import Typed, first_row_beyond, shown, typed_columns
from steps.loading.rules import Rules
from steps.loading.table import LARGEST_INTEGER, Column, Table
from steps.runtime.errors import DataError

# In fewer rows, distinct values are no sign of an identifier.
MIN_IDENTIFIED_ROWS = 50
# Rows may be stored twice. Of a category with so many levels, hardly one has a second row to learn
# from.
MIN_DISTINCT_SHARE = 0.99
ID_NAME = re.compile(
    r"(.*[_ .-])?(id|ids|uuid|guid|key|index|number|row_?(num|number|id))|.*[a-z](Id|ID|Key|Number)"
)
# Texts with more levels, most of them distinct, and several words are free text.
FREE_TEXT_LEVELS, FREE_TEXT_WORDS = 100, 3
# Up to here levels are counted exactly; beyond, a sketch is close enough to be shown.
EXACT_LEVELS = 10_000
FIRST_TIME = "TIMESTAMP '0001-01-01'"
LAST_TIME = "TIMESTAMP '9999-12-31 23:59:59.999999'"


@dataclass(frozen=True)
class Profile:
    """A column with what was counted in it, and what becomes of it.

    Attributes:
        typed: the column with the kind of its values.
        kind: the kind of feature, or why it is none: "identifier", "constant", "all missing",
            "free text", "dropped", "unsupported".
        missing: the number of missing values.
        levels: the number of distinct values of a category or a boolean; None of others.
        becomes: what happens to it, in words.
    """

    typed: Typed
    kind: str
    missing: int
    levels: int | None
    becomes: str

    @property
    def is_feature(self) -> bool:
        """Whether the column is a feature."""
        return self.kind == self.typed.kind

    @property
    def feature(self) -> Feature:
        """The feature, before anything is known of its training rows."""
        typed = self.typed
        return Feature(
            typed.column.name,
            typed.kind,  # type: ignore[arg-type]
            levels=typed.words,
            format=typed.format,
            text=typed.kind == "number" and typed.is_text,
        )


def profile_columns(table: Table, columns: list[Column], rules: Rules) -> list[Profile]:
    """Return what becomes of each column.

    Raises:
        DataError: a column has infinite numbers, or integers that doubles do not hold.
    """
    used = [column for column in columns if column.name not in rules.drop]
    typed = {t.column.key: t for t in typed_columns(table, used, rules)}
    values = dict(zip(typed, _facts(table, list(typed.values())), strict=True))
    return [
        _profile(table, typed[column.key], values[column.key], rules)
        if column.key in typed
        else _dropped(table, column)
        for column in columns
    ]


@dataclass(frozen=True)
class _Facts:
    """What one pass over the table counts in a column; `distinct` is approximate."""

    rows: int
    known: int
    low: Any
    high: Any
    distinct: int
    words: float


def _facts(table: Table, columns: list[Typed]) -> list[_Facts]:
    tests = [test for typed in columns for test in _tests(typed)]
    rows, *found = table.row(f"SELECT {', '.join(['count(*)', *tests])} FROM loaded")
    return [_Facts(rows, *found[start : start + 5]) for start in range(0, len(found), 5)]


def _tests(typed: Typed) -> tuple[str, str, str, str, str]:
    value = typed.value
    if not typed.kind:
        return f"count({value})", "NULL", "NULL", "0", "0"
    # As doubles, neighbours of large integers are equal.
    end = typed.column.key if typed.column.is_integer and typed.kind == "number" else value
    counts_distinct = typed.kind == "category" or typed.is_integer
    return (
        f"count({value})",
        f"min({end})",
        f"max({end})",
        f"approx_count_distinct({end})" if counts_distinct else "0",
        f"avg(length({value}) - length(replace({value}, ' ', '')) + 1)"
        if typed.kind == "category"
        else "0",
    )


def _profile(table: Table, typed: Typed, facts: _Facts, rules: Rules) -> Profile:
    kind, becomes = _left_out(table, typed, facts, rules) or (typed.kind, _use(typed))
    levels = _levels(table, typed, facts) if kind == typed.kind else None
    return Profile(typed, kind, facts.rows - facts.known, levels, becomes)


def _dropped(table: Table, column: Column) -> Profile:
    (missing,) = table.row(f"SELECT count(*) - count({column.key}) FROM loaded")
    return Profile(Typed(column, "", column.key), "dropped", missing, None, "left out by drop")


def _left_out(table: Table, typed: Typed, facts: _Facts, rules: Rules) -> tuple[str, str] | None:
    """Return why a column is no feature, as one word and in words; None if it is one."""
    name = typed.column.name
    if not facts.known:
        return "all missing", "left out: it has no values"
    if not typed.kind:
        return "unsupported", f"left out: no feature is of type {typed.column.type}"
    if facts.low == facts.high and facts.known == facts.rows:
        return "constant", f"left out: all values are {shown(facts.low)}"
    is_chosen = name in rules.categorical or name in rules.numeric
    if not is_chosen and (reason := _identifier(table, typed, facts)):
        return "identifier", f"left out: {reason}"
    if not is_chosen and _is_free_text(typed, facts):
        return "free text", "left out: mostly distinct texts of several words"
    if typed.kind == "number":
        _check_numbers(table, typed, facts)
    if typed.kind == "date":
        _check_dates(table, typed)
    if typed.kind == "category":
        _check_texts(table, typed)
    return None


def _identifier(table: Table, typed: Typed, facts: _Facts) -> str:
    """Return the sign that a column identifies the rows; empty if there is none."""
    if facts.known < MIN_IDENTIFIED_ROWS or not (typed.is_integer or typed.kind == "category"):
        return ""
    reason = _sign_of_identifier(typed, facts)
    span = facts.high - facts.low + 1 if typed.kind == "number" else 0
    fewest = MIN_DISTINCT_SHARE * facts.known
    if not (reason or fewest <= span <= facts.known):
        return ""
    distinct = _distinct(table, typed, facts)
    if distinct == span:
        reason = "consecutive numbers"
    if not reason or distinct < fewest:
        return ""
    repeated = facts.known - distinct
    but_for = f"but for {repeated:,} repeated" if repeated else ""
    return ", ".join(filter(None, [reason, but_for, typed.note]))


def _sign_of_identifier(typed: Typed, facts: _Facts) -> str:
    """Return why distinct values would identify the rows."""
    if typed.kind == "category":
        return "each row has another text" if facts.words < FREE_TEXT_WORDS else ""
    if max(abs(facts.low), abs(facts.high)) > LARGEST_INTEGER:
        return "each row has another long number"
    return "each row has another, and its name" if ID_NAME.fullmatch(name_of(typed)) else ""


def name_of(typed: Typed) -> str:
    """Return the name of a column, in lower case unless it is in camel case."""
    name = typed.column.name.strip()
    return name.lower() if name.isupper() else name


def _distinct(table: Table, typed: Typed, facts: _Facts) -> int:
    """Return the number of distinct values, 0 if it is far from that of all values."""
    if facts.distinct < 0.8 * facts.known:  # far below the error of the sketch
        return 0
    key = typed.column.key if typed.column.is_integer else typed.value
    (distinct,) = table.row(f"SELECT count(DISTINCT {key}) FROM loaded")
    return int(distinct)


def _is_free_text(typed: Typed, facts: _Facts) -> bool:
    return (
        typed.kind == "category"
        and facts.words >= FREE_TEXT_WORDS
        and facts.distinct > max(FREE_TEXT_LEVELS, facts.known / 2)
    )


def _check_numbers(table: Table, typed: Typed, facts: _Facts) -> None:
    column = typed.column
    if {facts.low, facts.high} & {float("inf"), float("-inf")}:
        (row,) = table.row(f"SELECT min(rowid) + 1 FROM loaded WHERE isinf({typed.value})")
        raise DataError(f"column {column.name}: infinite values (row {row:,}); replace them")
    if (column.is_integer or column.kind == "text") and (found := first_row_beyond(table, typed)):
        row, value = found
        raise DataError(
            f"column {column.name}: row {row:,}: {value} is beyond 2^53, where numbers are no "
            f"longer exact; pass it as categorical={column.name} or drop={column.name}"
        )


def _check_dates(table: Table, typed: Typed) -> None:
    """Check that dates are in years that Python, and so the service, knows."""
    row, value = table.row(
        f"SELECT min(rowid) + 1, arg_min(CAST({typed.value} AS VARCHAR), rowid) FROM loaded "
        f"WHERE {typed.value} NOT BETWEEN {FIRST_TIME} AND {LAST_TIME}"
    )
    if row is not None:
        raise DataError(
            f"column {typed.column.name}: row {row:,}: {value} is outside the years 1 to 9999; "
            "replace it by a missing value, "
            f"or pass drop={typed.column.name}"
        )


def _check_texts(table: Table, typed: Typed) -> None:
    """Check that texts can be stored: PostgreSQL, and so the service, refuses NUL."""
    (row,) = table.row(f"SELECT min(rowid) + 1 FROM loaded WHERE contains({typed.value}, chr(0))")
    if row is not None:
        raise DataError(
            f"column {typed.column.name}: row {row:,}: the text contains a NUL character; "
            f"remove it, or pass drop={typed.column.name}"
        )


def _levels(table: Table, typed: Typed, facts: _Facts) -> int | None:
    if typed.kind == "boolean":
        return 2 if facts.low != facts.high else 1
    if typed.kind != "category":
        return None
    if facts.distinct > EXACT_LEVELS:
        return facts.distinct
    (exact,) = table.row(f"SELECT count(DISTINCT {typed.value}) FROM loaded")
    return int(exact)


def _use(typed: Typed) -> str:
    uses = {
        "number": "number",
        "boolean": "0 and 1",
        "category": "its levels, as columns or target rates",
        "date": "seconds and parts of the calendar",
    }
    use = uses[typed.kind]
    if typed.words:
        use = f"0 for {typed.words[0]}, 1 for {typed.words[1]}"
    return f"{typed.note}; {use}" if typed.note else use
