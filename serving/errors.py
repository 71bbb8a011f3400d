"""Errors raised by `serving`.

ServingError
 ├─ InputError            rows, labels or keys that break a rule: the caller's to correct
 │   └─ InvalidFieldsError   the same, with each field and its rule as data
 ├─ NoChampionError       no champion has been loaded yet: try again
 ├─ ScorerError           an unreadable portable scorer
 ├─ JavaNotFoundError     no Java 11-17 for a MOJO
 ├─ LogUnavailableError   the prediction log cannot be reached: try again
 ├─ RequestConflictError  a request id reused with other rows
 └─ SettingsError         an invalid environment variable
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.secrets import masked

MAX_VIOLATIONS = 20
LONGEST_LINE = 300  # of a message that is shown
LOG_UNAVAILABLE = "the prediction log is unavailable: try again later"


class ServingError(Exception):
    """Base of all errors raised by `serving`; its text is one line for the operator."""

    @property
    def for_callers(self) -> str:
        """The text for callers of a server: without addresses and texts of a driver."""
        return masked(str(self))


class InputError(ServingError):
    """Input that breaks a rule; names the field, the row and the rule."""


@dataclass(frozen=True)
class Violation:
    """A rule that a field breaks; `row` counts from 0, None if it does not concern one row."""

    field: str
    rule: str
    row: int | None = None

    def __str__(self) -> str:
        location = self.field if self.row is None else f"{self.field}, row {self.row}"
        return f"{location}: {self.rule}"


def field_path(location: Sequence[str | int]) -> str:
    """Return `labels[3].label` for pydantic's location ("labels", 3, "label")."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".")


class InvalidFieldsError(InputError):
    """Input with invalid fields; the first 20 are named."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = violations[:MAX_VIOLATIONS]
        super().__init__("; ".join(map(str, self.violations)))


class _PrivateError(ServingError):
    """An error that may quote a driver; callers get another text."""

    def __init__(self, message: str, for_callers: str) -> None:
        super().__init__(message)
        self._for_callers = for_callers

    @property
    def for_callers(self) -> str:
        """The text for callers of a server."""
        return self._for_callers


class NoChampionError(_PrivateError):
    """The service has no champion yet; it keeps looking for one."""


class ScorerError(ServingError):
    """A portable scorer that is incomplete, damaged or newer than this code."""


class JavaNotFoundError(ServingError):
    """No usable Java runtime."""


class LogUnavailableError(_PrivateError):
    """The prediction log cannot be read or written; the request was not answered."""

    def __init__(self, message: str, for_callers: str = LOG_UNAVAILABLE) -> None:
        super().__init__(message, for_callers)


class RequestConflictError(ServingError):
    """A request id was used before with other rows."""


class SettingsError(ServingError):
    """Environment variables with invalid values; one line for each."""


def one_line(error: BaseException | None) -> str:
    """Return the first line of an error's message, or the name of its type if it has none.

    Of SQLAlchemy's errors, that is the driver's message, without statement and parameters. A line
    that ends with a colon is joined with the next one that is neither empty nor a heading (`#`).
    Secrets in URLs are hidden.
    """
    cause = getattr(error, "orig", None) or error
    first, *others = masked(str(cause)).strip().splitlines() or [""]
    # MLflow's errors of downloads have a heading with the file before the cause.
    others = [line.strip() for line in others if line.strip() and not line.startswith("#")]
    first = first.rstrip()
    line = f"{first} {others[0]}" if first.endswith(":") and others else first
    # A message may quote the raw bytes of a file.
    shown = "".join(character if character.isprintable() else "?" for character in line)
    return shown[:LONGEST_LINE] if shown not in ("", "None") else type(cause).__name__


def unavailable(error: BaseException) -> LogUnavailableError:
    """Return the error for a prediction log that `error` made unavailable."""
    return LogUnavailableError(f"the prediction log is unavailable: {one_line(error)}")
