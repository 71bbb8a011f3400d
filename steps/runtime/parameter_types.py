"""Parameter types that click does not bring.

Each is a function from text to a value; click adds the parameter's name to what it raises. The
types for times and durations of click and pydantic take other texts, such as numbers.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from steps.runtime.threshold_rule import ThresholdRule

MAX_MODEL_NAME_LENGTH = 255  # as the prediction log stores it
DURATION_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

# A name up to a comma or the end: quoted with doubled quotes, or plain.
COLUMN_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s,"][^,]*))?\s*(?=,|\Z)')

ParameterType = click.ParamType[Any] | Callable[[str], Any]


def non_empty(text: str) -> str:
    """Return `text` without surrounding blanks, at least one character."""
    if not (stripped := text.strip()):
        raise click.BadParameter("must not be empty")
    return stripped


def not_blank(text: str) -> str:
    """Return `text` as it is, with at least one character that is no blank."""
    non_empty(text)
    return text


def comma_list(text: str) -> list[str]:
    """Return the values that commas separate, at least one, without repetitions."""
    values = list(dict.fromkeys(value.strip() for value in text.split(",") if value.strip()))
    if not values:
        raise click.BadParameter("must name at least one")
    return values


def comma_list_of(choices: list[str]) -> Callable[[str], list[str]]:
    """Return the type of a comma list whose values are among `choices`."""

    def comma_list_of_choices(text: str) -> list[str]:
        values = comma_list(text)
        for value in values:
            if value not in choices:
                raise click.BadParameter(f"{value!r} is not one of {', '.join(choices)}")
        return values

    return comma_list_of_choices


def column_list(text: str) -> list[str]:
    """Return the names that commas separate, quoted as in CSV, without repetitions.

    Blanks around a name belong to it only within quotes.
    """
    names, place = [], 0
    while place <= len(text):
        if not (found := COLUMN_NAME.match(text, place)):
            raise click.BadParameter(f"{text!r} are no names as in a line of CSV")
        quoted, plain = found.groups(default="")
        names.append(quoted.replace('""', '"') or plain.strip())
        place = found.end() + 1
    return list(dict.fromkeys(name for name in names if name.strip()))


def as_parameter(name: str) -> str:
    """Return a name as `column_list` reads it."""
    is_plain = not set(name) & set(',"') and name == name.strip()
    return name if is_plain else '"{}"'.format(name.replace('"', '""'))


def as_text(value: Any) -> str:
    """Return the value of a parameter as it is passed on the command line."""
    return ",".join(map(as_parameter, value)) if isinstance(value, list) else str(value)


def model_name(text: str) -> str:
    """Return `text`, a name that the model registry and the prediction log accept."""
    if not re.fullmatch(r"[\w.-][\w. -]*", text):
        raise click.BadParameter(
            f"{text!r} must consist of letters, digits, blanks and the characters . _ -"
        )
    if text == "." or text.startswith(".."):
        raise click.BadParameter(f"{text!r} must not name a folder: the registry refuses it")
    if len(text) > MAX_MODEL_NAME_LENGTH:
        raise click.BadParameter(f"must have at most {MAX_MODEL_NAME_LENGTH} characters")
    return text


def threshold_rule(text: str) -> ThresholdRule:
    """Return the rule of a text such as `ks`, `cost=500:10` or `alerts=0.5%`."""
    try:
        return ThresholdRule.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def time(text: str) -> datetime:
    """Return the time of an ISO 8601 text, in UTC where the text has no offset."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time such as 2026-01-31T12:00:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def duration(text: str) -> timedelta:
    """Return the length of time of a text such as 7d, 36h or 90m."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([dhm])", text.strip())
    if not found:
        raise click.BadParameter(f"{text!r} is not a duration such as 7d, 36h or 90m")
    return timedelta(**{DURATION_UNITS[found[2]]: int(found[1])})


def optional(type_: ParameterType) -> Callable[[str], Any]:
    """Return the type of a value of `type_`, or None where the text is empty."""

    def optional_value(text: str) -> Any:
        return type_(text) if text.strip() else None

    return optional_value


def new_path(text: str) -> Path:
    """Return the path of a file or folder that does not exist yet, in an existing folder."""
    non_empty(text)
    path = Path(text)
    if path.exists():
        raise click.BadParameter(f"{text!r} exists already: remove it or choose another name")
    if not path.parent.is_dir():
        raise click.BadParameter(f"no such folder: {str(path.parent)!r}")
    return path
