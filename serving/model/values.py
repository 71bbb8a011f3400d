"""Conversion of single raw values to the canonical values of a kind.

A missing value is None. Numbers are floats; booleans are 0.0 and 1.0; dates are microseconds since
1970 (UTC), which a float holds exactly for every whole second of the years 1 to 9999; categories
are texts.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

ValueParser = Callable[[Any], Any]

NUMERIC = (int, float, Decimal, np.number)
BOOLEAN = (bool, np.bool_)
INTEGER = (int, np.integer)
JSON_KINDS = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
# The forms of ISO 8601 that training and serving accept, alike in `re` and in DuckDB.
ZONE = r" ?(Z|UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
CLOCK = r"(([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?|24:00(:00(\.0{1,9})?)?)"
ISO_UNZONED = rf"\d{{4}}-\d{{2}}-\d{{2}}([ T]{CLOCK})?"
ISO_ZONED = rf"\d{{4}}-\d{{2}}-\d{{2}}[ T]{CLOCK}{ZONE}"
ISO_8601 = re.compile(f"{ISO_UNZONED}|{ISO_ZONED}", re.ASCII)
# The texts that stand for a missing value in a table, unless a category has such a level.
MISSING_TEXTS = frozenset(("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"))
FALSE_WORDS, TRUE_WORDS = ("false", "no", "n", "f"), ("true", "yes", "y", "t")
BOOLEANS = dict.fromkeys((*FALSE_WORDS, "0", "0.0"), 0.0) | dict.fromkeys(
    (*TRUE_WORDS, "1", "1.0"), 1.0
)
EPOCH = datetime(1970, 1, 1)
MICROSECOND = timedelta(microseconds=1)
# Larger integers are not exact as floats.
LARGEST_EXACT = 2**53
# Longer integers of JSON are read as floats, too.
BEYOND_JSON = 2**64
TOO_LARGE = "must not be an integer beyond 2^53, where numbers are no longer exact"
# Longer values are cut in messages.
SHOWN_CHARACTERS = 40


class InvalidValueError(ValueError):
    """A value breaks the rule that the message states."""


@dataclass(slots=True)
class Texts:
    """A column of texts with few distinct ones.

    Attributes:
        codes: The position of each row's text in `distinct`, -1 where missing, shape (n_rows,).
        distinct: Texts; None stands for a missing value, too.
    """

    codes: npt.NDArray[np.int64]
    distinct: list[str | None]

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str | None]:
        texts = np.array([*self.distinct, None], dtype=object)
        return iter(texts[self.codes].tolist())

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        """Whether the text of each row is missing, shape (n_rows,)."""
        return np.array([*(text is None for text in self.distinct), True])[self.codes]


def quoted(text: str) -> str:
    """Quote the beginning of a value for a message."""
    return repr(text[:SHOWN_CHARACTERS])


def must_be(expected: str, value: Any) -> str:
    """Return the rule for a value that is not `expected`, with a description of the value."""
    found = JSON_KINDS.get(type(value), repr(value))
    return f"must be {expected}, not {f'{found}, {quoted(value)}' if type(value) is str else found}"


def parse_text(text: str) -> float | str | None:
    """Return the number in a text, None if it stands for a missing value, else the text.

    Integers that may be inexact as a float remain integers.
    """
    stripped = text.strip()
    if stripped in MISSING_TEXTS:
        return None
    # Python, unlike JSON, also accepts 1_000, nan, infinity and the digits of other scripts.
    if not NUMBER.fullmatch(stripped):
        return text
    number = float(stripped)
    if LARGEST_EXACT <= abs(number) < BEYOND_JSON and stripped.lstrip("+-").isdigit():
        return int(stripped)
    return number


@cache
def value_parser(kind: str, levels: tuple[str, ...], date_format: str, text: bool) -> ValueParser:
    """Return the function that converts one value of a feature to its canonical value.

    It raises `InvalidValueError` with the broken rule.
    """
    if kind == "category":
        return partial(_category, missing=MISSING_TEXTS - set(levels))
    if kind == "date":
        return partial(_date, date_format=date_format)
    if kind == "boolean":
        expected = f"{levels[0]} or {levels[1]}" if levels else "a boolean"
        return partial(_boolean, expected=expected)
    return partial(_number, text=text)


def _number(value: Any, text: bool) -> float | None:
    if value is None:
        return None
    if text and isinstance(value, str):
        value = parse_text(value)
        if value is None:
            return None
    if isinstance(value, BOOLEAN) or not isinstance(value, NUMERIC):
        raise InvalidValueError(must_be("a number", value))
    if is_inexact(value):
        raise InvalidValueError(TOO_LARGE)
    return float(value)


def is_inexact(value: Any) -> bool:
    """Return whether a value is an integer that may differ as a float."""
    return isinstance(value, INTEGER) and abs(int(value)) > LARGEST_EXACT


def _boolean(value: Any, expected: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text in MISSING_TEXTS:
            return None
        found = BOOLEANS.get(text.casefold())
    else:
        is_number = isinstance(value, (*BOOLEAN, *NUMERIC))
        found = float(value) if is_number and value in (0, 1) else None
    if found is None:
        raise InvalidValueError(must_be(expected, value))
    return found


def _category(value: Any, missing: frozenset[str]) -> str | None:
    if type(value) is str:
        text = value
    elif value is None:
        return None
    elif isinstance(value, BOOLEAN):
        return "true" if value else "false"
    elif isinstance(value, NUMERIC):
        text = str(int(value)) if float(value).is_integer() else repr(float(value))
    else:
        raise InvalidValueError(must_be("text", value))
    if text in missing:
        return None
    if not is_plain(text):
        raise InvalidValueError("must be plain text")
    return text


def is_plain(text: str) -> bool:
    """Return whether a text can be stored: Unicode without NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _date(value: Any, date_format: str) -> float | None:
    if value is None:
        return None
    given = value
    try:
        if isinstance(value, str):
            text = value.strip()
            if text in MISSING_TEXTS:
                return None
            value = _parse_date(text, date_format)
        elif isinstance(value, np.datetime64):
            value = value.astype("datetime64[us]").item()
        if isinstance(value, datetime):
            aware = value.tzinfo is not None
            value = value.astimezone(UTC).replace(tzinfo=None) if aware else value
        elif isinstance(value, date):
            value = datetime(value.year, value.month, value.day)
        else:
            raise InvalidValueError(must_be("a date", value))
        return float((value - EPOCH) // MICROSECOND)
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidValueError):
            raise
        form = f"ISO 8601 or {date_format}" if date_format else "ISO 8601"
        raise InvalidValueError(must_be(f"a date ({form})", given)) from None


def _parse_date(text: str, date_format: str) -> datetime:
    if date_format:
        try:
            return datetime.strptime(text, date_format)
        except ValueError:
            pass  # also ISO 8601, as the log and JSON have it
    if not ISO_8601.fullmatch(text):
        raise ValueError(text)
    day, clock = text[:10], text[11:].replace(" ", "").replace("UTC", "Z")
    if clock.startswith("24"):  # the end of the day
        return datetime.fromisoformat(f"{day}T00{clock[2:]}") + timedelta(days=1)
    return datetime.fromisoformat(f"{day}T{clock}" if clock else day)


def date_text(microseconds: float, has_time: bool) -> str:
    """Return a canonical date in ISO 8601, without a time of day if the feature has none."""
    moment = EPOCH + timedelta(microseconds=int(microseconds))
    is_midnight = moment.time() == datetime.min.time()
    return moment.date().isoformat() if is_midnight and not has_time else moment.isoformat()
