"""The target: its two values, and which of them is class 1."""

from dataclasses import dataclass
from typing import Any

from steps.loading.kinds import as_text, number, shown, stripped
from steps.loading.table import Column, Table, quoted
from steps.runtime.errors import DataError, ParameterError

# Values that mean "true", as far as the other value is one of those that they are paired with.
TRUE_VALUES: dict[str, tuple[str, ...]] = {
    "1": ("0", "-1"), "1.0": ("0.0", "-1.0"), "y": ("n",), "t": ("f",), "+": ("-",),
}  # fmt: skip
# Values that mean "true", whatever the other value is.
TRUE_WORDS = ("true", "yes", "positive", "pos")


@dataclass(frozen=True)
class Target:
    """The target column.

    Attributes:
        column: the column.
        value: the expression of class 0 or 1, as BIGINT.
        classes: the values that are class 0 and class 1, as text.
        because: the reason why the latter is class 1.
    """

    column: Column
    value: str
    classes: tuple[str, str]
    because: str


def find_target(table: Table, column: Column, positive: str) -> Target:
    """Return the target.

    Args:
        table: the table.
        column: the column.
        positive: the value that is class 1; empty to choose one.

    Raises:
        DataError: the column does not have two values, or some are missing.
        ParameterError: it has no value `positive`.
    """
    value = _value(column)
    low, high = _extremes(table, column, value)
    counts = {_text(v): _count(table, value, v) for v in (low, high)}
    if sum(counts.values()) != table.rows:
        raise DataError(_other_values(table, column, value, [low, high]))
    values = list(counts)
    if any("\0" in text for text in values):
        raise DataError(
            f"column {column.name}: a value of the target contains a NUL character; recode it"
        )
    if positive:
        one, because = _named(column, values, positive), "positive names it"
    else:
        one, because = _chosen(counts)
    zero = next(text for text in values if text != one)
    literal = _literal(high if one == _text(high) else low)
    return Target(column, f"CAST({value} = {literal} AS BIGINT)", (zero, one), because)


def _value(column: Column) -> str:
    if column.kind == "text":
        return stripped(column)
    return number(column) if column.kind == "number" else as_text(column)


def _extremes(table: Table, column: Column, value: str) -> tuple[Any, Any]:
    """Return the least and the greatest value; check that none is missing."""
    missing, row, low, high = table.row(
        f"SELECT count(*) - count({value}), min(CASE WHEN {value} IS NULL THEN rowid + 1 END), "
        f"min({value}), max({value}) FROM loaded"
    )
    if low is None:
        raise DataError(f"column {column.name}: all values of the target are missing; add them")
    if missing:
        rows = "row" if missing == 1 else "rows"
        raise DataError(
            f"column {column.name}: missing values in the target ({missing:,} {rows}, the first is "
            f"row {row:,}); remove those rows"
        )
    if low == high:
        raise DataError(
            f"column {column.name}: all {table.rows:,} rows have the value {_shown(low)}; the "
            "target must have two values, add rows of the other class"
        )
    return low, high


def _count(table: Table, value: str, of: Any) -> int:
    (count,) = table.row(f"SELECT count(*) FROM loaded WHERE {value} = {_literal(of)}")
    return int(count)


def _other_values(table: Table, column: Column, value: str, two: list[Any]) -> str:
    """Return the line on the values beside two of them."""
    known = ", ".join(map(_literal, two))
    row, other, distinct = table.row(
        f"SELECT min(rowid) + 1, arg_min({value}, rowid), approx_count_distinct({value}) "
        f"FROM loaded WHERE {value} NOT IN ({known})"
    )
    counts = ", ".join(f"{_shown(v)} in {_count(table, value, v):,} rows" for v in [*two, other])
    many = "3" if distinct == 1 else f"about {distinct + 2:,}"
    return (
        f"column {column.name}: the target must have two values, but has {many} ({counts}; "
        f"row {row:,} has {_shown(other)}); recode it, or remove the other rows"
    )


def _named(column: Column, values: list[str], positive: str) -> str:
    """Return the value that `positive` names."""
    wanted = _normal(positive)
    named = [text for text in values if _normal(text) == wanted]
    if not named:
        raise ParameterError(
            f"positive: {positive!r} is no value of the target {column.name}; pass one of "
            f"{values[0]!r} and {values[1]!r}"
        )
    return named[0]


def _chosen(counts: dict[str, int]) -> tuple[str, str]:
    """Return the value that is class 1 unless the user names one, and the reason."""
    first, second = counts
    reading = [
        one
        for one, other in ((first, second), (second, first))
        if one.lower() in TRUE_WORDS or other.lower() in TRUE_VALUES.get(one.lower(), ())
    ]
    if len(reading) == 1:
        return reading[0], "it reads as true"
    if counts[first] == counts[second]:
        return second, "it sorts last, and both are equally frequent; positive=VALUE names another"
    rarer = min(counts, key=lambda text: counts[text])
    return rarer, "it is the rarer value; positive=VALUE names another"


def _normal(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.strip()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _shown(value: Any) -> str:
    return shown(value) if isinstance(value, str) else _text(value)


def _literal(value: Any) -> str:
    return f"'{value!r}'::DOUBLE" if isinstance(value, float) else quoted(str(value))
