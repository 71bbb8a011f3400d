"""What can go wrong while serving.

ServingError
 ├─ InputError            a row the model cannot score: the caller's to mend
 ├─ NoChampionError       no champion was loaded yet: try again
 ├─ ScorerError           a portable scorer that cannot be read
 ├─ JavaNotFoundError     no Java 11-17 for a MOJO
 ├─ LogUnavailableError   the prediction log cannot be written now: try again
 └─ RequestConflictError  a request id that was used before with other rows
"""


class ServingError(Exception):
    """Base of all errors raised by `serving`; its text is one line for the user."""


class InputError(ServingError):
    """Rows that do not fit the model's features; names the field, the row and the rule."""


class NoChampionError(ServingError):
    """The service has no champion yet; it looks for one all the time."""


class ScorerError(ServingError):
    """A portable scorer that is incomplete, damaged or newer than this code."""


class JavaNotFoundError(ServingError):
    """No usable Java runtime."""


class LogUnavailableError(ServingError):
    """The prediction log could not be written; nothing was answered."""


class RequestConflictError(ServingError):
    """The same request id came with other content."""
