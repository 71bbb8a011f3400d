"""Kinds of columns, recognised by their types and values.

Each value is read as the service reads it (`serving.model.values`): a model gets the same numbers
and texts in training and in production.
"""

import re
from dataclasses import dataclass
from typing import Any

from serving.model.features import Kind
from serving.model.values import FALSE_WORDS, MISSING_TEXTS, NUMBER, TRUE_WORDS
from steps.loading.dates import DATE_LIKE, DateFormat, date_format
from steps.loading.rules import Rules
from steps.loading.table import (
    INTEGER,
    LARGEST_INTEGER,
    ZERO_PADDED,
    Column,
    Table,
    matches,
    quoted,
)
from steps.runtime.errors import DataError

# DuckDB converts longer decimals to doubles with two roundings.
EXACT_DECIMAL = re.compile(r"DECIMAL\((\d|1[0-5]),")
LONG_INTEGER = r"[+-]?\d{16,}"
WORD_PAIRS = tuple(zip(FALSE_WORDS, TRUE_WORDS, strict=True))
# So few values that are no numbers may be mistakes, or words for missing ones.
FEW_OTHERS = 0.05
# Longer values are cut in messages.
SHOWN_CHARACTERS = 40


@dataclass(frozen=True)
class Typed:
    """A column with the kind of its values.

    Attributes:
        column: the column.
        kind: the kind of feature that it can be; empty if its type has no kind.
        value: the expression of its canonical values, NULL where one is missing.
        words: of a boolean, the user's words for false and true.
        format: of a date, the format of the user's texts if they are not ISO 8601.
        is_text: whether the user's table has the values as text.
        is_integer: of a number, whether the type of the column allows whole numbers only.
        note: what should be said about the recognition; empty if there is nothing.
    """

    column: Column
    kind: Kind | str
    value: str
    words: tuple[str, ...] = ()
    format: str = ""
    is_text: bool = False
    is_integer: bool = False
    note: str = ""


def typed_columns(table: Table, columns: list[Column], rules: Rules) -> list[Typed]:
    """Return columns with the kinds of their values.

    Raises:
        DataError: the values of a column contradict `categorical` or `numeric`.
    """
    texts = [column for column in columns if column.kind == "text"]
    facts = dict(zip((column.key for column in texts), _text_facts(table, texts), strict=True))
    found = []
    for column in columns:
        if column.name in rules.categorical:
            found.append(_as_category(column))
        elif column.kind == "text":
            found.append(_of_text(table, column, facts[column.key], column.name in rules.numeric))
        else:
            found.append(_of_type(column))
        if column.name in rules.numeric and found[-1].kind != "number":
            raise DataError(_not_a_number(table, found[-1]))
    return found


def number(column: Column) -> str:
    """Return the expression for the values of a column as DOUBLE, NULL for NaN."""
    key = column.key
    if column.type.startswith("DECIMAL") and not EXACT_DECIMAL.match(column.type):
        key = f"CAST({key} AS VARCHAR)"
    value = f"CAST({key} AS DOUBLE)"
    return f"nullif({value}, 'NaN'::DOUBLE)" if column.type in ("DOUBLE", "FLOAT") else value


def stripped(column: Column) -> str:
    """Return the expression for texts without blanks around them, NULL where one is missing."""
    text = f"trim(CAST({column.key} AS VARCHAR))"
    return f"CASE WHEN {text} NOT IN ({_list(MISSING_TEXTS)}) THEN {text} END"


def as_text(column: Column) -> str:
    """Return the expression for the values of a column as the texts of a category."""
    text = f"CAST({column.key} AS VARCHAR)"
    if column.kind == "number" and not column.is_integer:
        value = number(column)
        return (
            f"CASE WHEN abs({value}) < 1e18 AND {value} = trunc({value}) "
            f"THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END"
        )
    if column.kind == "text":
        return f"CASE WHEN {text} NOT IN ({_list(MISSING_TEXTS)}) THEN {text} END"
    return text


def shown(value: object) -> str:
    """Return a value as messages show it."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


@dataclass(frozen=True)
class _TextFacts:
    """Counts of the texts of a column that look alike."""

    known: int
    numbers: int
    words: int
    dates: int


def _text_facts(table: Table, columns: list[Column]) -> list[_TextFacts]:
    """Count in one pass over all columns of text."""
    if not columns:
        return []
    counts = ", ".join(f"count({test})" for column in columns for test in _tests(stripped(column)))
    found = table.row(f"SELECT {counts} FROM loaded")
    return [_TextFacts(*found[start : start + 4]) for start in range(0, len(found), 4)]


def _tests(text: str) -> list[str]:
    """Return expressions that are not NULL where a text is present, a number, a word, a date."""
    conditions = [
        _number_test(text),
        f"lower({text}) IN ({_list((*FALSE_WORDS, *TRUE_WORDS))})",
        matches(text, DATE_LIKE),
    ]
    return [text, *(f"CASE WHEN {condition} THEN 1 END" for condition in conditions)]


def _of_text(table: Table, column: Column, facts: _TextFacts, is_number: bool) -> Typed:
    text = stripped(column)
    if is_number or 0 < facts.known == facts.numbers:
        return _number_in_text(table, column)
    if 0 < facts.known == facts.words and (words := _boolean_words(table, text)):
        value = f"lower({text}) IN ({_list(TRUE_WORDS)})"
        return Typed(column, "boolean", value, words=words, is_text=True)
    note = _nearly_numbers(table, text, facts)
    if 0 < facts.known == facts.dates:
        format_ = date_format(table, text)
        if isinstance(format_, DateFormat):
            return Typed(column, "date", format_.value, format=format_.strptime, is_text=True)
        note = f"dates of the format {format_} cannot be told apart" if format_ else ""
    return Typed(column, "category", as_text(column), is_text=True, note=note)


def _nearly_numbers(table: Table, text: str, facts: _TextFacts) -> str:
    """Return a note on the few values that keep a column from being a number; empty if many do."""
    others = facts.known - facts.numbers
    if not 0 < others <= FEW_OTHERS * facts.known:
        return ""
    (example,) = table.row(
        f"SELECT arg_min({text}, rowid) FROM loaded WHERE {text} IS NOT NULL "
        f"AND NOT ({_number_test(text)})"
    )
    return f"numbers but for {others:,} such as {shown(example)}"


def _number_in_text(table: Table, column: Column) -> Typed:
    text = stripped(column)
    value = f"CASE WHEN {_is_number(text)} THEN TRY_CAST({text} AS DOUBLE) END"
    known, numbers, whole = table.row(
        f"SELECT count({text}), count({value}), "
        f"coalesce(bool_and({value} = trunc({value})), false) FROM loaded"
    )
    kind = "number" if known == numbers else "category"
    return Typed(column, kind, value, is_text=True, is_integer=whole)


def _boolean_words(table: Table, text: str) -> tuple[str, ...]:
    """Return the most frequent spellings of false and true, empty if there are other pairs."""
    found = table.sql(
        f"SELECT {text} AS word FROM loaded WHERE {text} IS NOT NULL "
        "GROUP BY word ORDER BY count(*) DESC, word"
    ).fetchall()
    spellings = {word.lower(): word for (word,) in reversed(found)}
    pair = next((pair for pair in WORD_PAIRS if set(pair) == set(spellings)), ())
    return tuple(spellings[word] for word in pair)


def _of_type(column: Column) -> Typed:
    if column.kind == "number":
        return Typed(
            column, "number", number(column), is_text=column.has_texts, is_integer=column.is_integer
        )
    if column.kind == "boolean":
        return Typed(column, "boolean", column.key)
    if column.kind == "time":
        return Typed(column, "date", f"CAST({column.key} AS TIMESTAMP)")
    if column.type == "UUID":
        return Typed(column, "category", as_text(column))
    return Typed(column, "", column.key)


def _as_category(column: Column) -> Typed:
    if column.kind in ("time", "other") and column.type != "UUID":
        raise DataError(
            f"column {column.name}: values of type {column.type} cannot be categories; remove it "
            "from categorical"
        )
    return Typed(column, "category", as_text(column), is_text=column.kind == "text")


def _not_a_number(table: Table, found: Typed) -> str:
    """Return the line on the first value that is no number."""
    column = found.column
    value = stripped(column)
    other = f"{value} IS NOT NULL"
    if column.kind == "text":
        other += f" AND NOT {_is_number(value)}"
    row, example = table.row(
        f"SELECT coalesce(min(rowid) + 1, 0), arg_min({value}, rowid) FROM loaded WHERE {other}"
    )
    return (
        f"column {column.name}: row {row:,}: {shown(example)} is no number; remove the column from "
        "numeric, or mend its values"
    )


def first_row_beyond(table: Table, typed: Typed) -> tuple[int, Any] | None:
    """Return row and value of the first integer that a double does not hold exactly."""
    column = typed.column
    row, value = table.row(
        f"SELECT min(rowid) + 1, arg_min({column.key}, rowid) FROM loaded WHERE {_beyond(column)}"
    )
    return None if row is None else (row, value)


def _beyond(column: Column) -> str:
    """Return the condition that a value is an integer beyond 2^53."""
    if column.kind == "text":
        text = stripped(column)
        integer = f"TRY_CAST({text} AS HUGEINT)"
        is_within = f"coalesce({integer} BETWEEN -{LARGEST_INTEGER} AND {LARGEST_INTEGER}, false)"
        return f"{matches(text, INTEGER)} AND NOT {is_within}"
    smallest = "" if column.type.startswith("U") else f" OR {column.key} < -{LARGEST_INTEGER}"
    return f"{column.key} > {LARGEST_INTEGER}{smallest}"


def _number_test(text: str) -> str:
    """Return the condition that a text is a number, and no code in digits."""
    is_code = f"{matches(text, ZERO_PADDED)} OR {matches(text, LONG_INTEGER)}"
    return f"{_is_number(text)} AND NOT ({is_code})"


def _is_number(text: str) -> str:
    return matches(text, NUMBER.pattern, "i")


def _list(texts: Any) -> str:
    return ", ".join(quoted(text) for text in sorted(texts))
