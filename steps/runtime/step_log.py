"""The output of libraries during a step: it goes to `step.log`, an artifact of the step's run.

Descriptors 1 and 2 lead to the file, so that it also gets what Java and C libraries write. The
step's own messages also go to the terminal, through a copy of descriptor 2.
"""

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

import mlflow
from mlflow.environment_variables import MLFLOW_LOGGING_LEVEL
from mlflow.exceptions import MlflowException

from serving.secrets import MaskingFormatter, masked
from steps.runtime.live_line import erasure

ARTIFACT = "step.log"
OWN_LOGGER = "ml-pipes"
# The end of a longer log is kept.
LARGEST_BYTES = 10 * 2**20

_redirections: list["_Redirection"] = []
_terminal: list[TextIO] = []


class _Redirection:
    """Descriptors 1 and 2, which can be redirected to a file and back."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._originals = [os.dup(1), os.dup(2)]

    def begin(self) -> None:
        self._lead_to([self._file, self._file])

    def end(self) -> None:
        self._lead_to(self._originals)

    def close(self) -> None:
        self.end()
        for descriptor in self._originals:
            os.close(descriptor)

    def _lead_to(self, descriptors: list[int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # a full disk
                stream.flush()
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)


class _TerminalHandler(logging.StreamHandler[TextIO]):
    """Handler that erases the live line in the write that prints a message."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{erasure()}{super().format(record)}"


def log_to_terminal() -> None:
    """Log to standard error, unless the program that runs this step logs elsewhere.

    It receives the step's own messages, the warnings of libraries, and MLflow's messages of at
    least MLFLOW_LOGGING_LEVEL.
    """
    logging.getLogger(OWN_LOGGER).setLevel(logging.INFO)
    if logging.getLogger().hasHandlers():
        if not MLFLOW_LOGGING_LEVEL.is_set():
            logging.getLogger("mlflow").setLevel(logging.WARNING)
        return
    _terminal.append(os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1))
    handler = _TerminalHandler(_terminal[0])
    handler.setFormatter(MaskingFormatter("%(message)s"))
    handler.addFilter(_is_for_terminal)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    library = logging.getLogger("mlflow")
    library.handlers.clear()  # they write to whatever standard error is
    library.propagate = True
    library.setLevel(min(logging.INFO, _mlflow_level()))
    sys.excepthook = _say_traceback


def say(text: str) -> None:
    """Print a line, or several, on the terminal in one write."""
    stream = _terminal[0] if _terminal else sys.stderr
    stream.write(f"{erasure()}{text}\n")
    stream.flush()


def _say_traceback(
    kind: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """Print an unexpected error, below which the live line of another process may be drawn."""
    say(masked("".join(traceback.format_exception(kind, error, frames)).rstrip()))


@contextmanager
def capturing(run_id: str) -> Iterator[None]:
    """Write the output of this process and its children to the log of a run.

    If the program that runs the step logs elsewhere, nothing is captured.
    """
    if not _terminal:
        yield
        return
    flags = os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY
    with open(os.open(_path(run_id), flags, 0o600), "a") as file:
        redirection = _Redirection(file.fileno())
        handler = logging.StreamHandler(file)
        handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        redirection.begin()
        _redirections.append(redirection)
        try:
            yield
        finally:
            _redirections.remove(redirection)
            redirection.close()
            logging.getLogger().removeHandler(handler)


@contextmanager
def terminal_for_child() -> Iterator[None]:
    """Restore descriptors 1 and 2, so that a child process inherits the terminal."""
    for redirection in _redirections:
        redirection.end()
    try:
        yield
    finally:
        for redirection in _redirections:
            redirection.begin()


def add_output(file: Path) -> None:
    """Append the output that a server wrote to a file of its own."""
    if _redirections and file.exists():
        sys.stderr.write(file.read_text(errors="replace"))


def add_traceback(run_id: str, error: BaseException) -> None:
    """Append an error to the log of a run whose output is no longer captured."""
    if (path := _path(run_id)).exists():
        with path.open("a") as file:
            traceback.print_exception(error, file=file)


def record_log(run_id: str) -> bool:
    """Log the file of a run as its artifact, and delete it.

    A step does so at its end, and its parent for a step that was killed.

    Returns:
        Whether the run has received the artifact: False if nothing was written.

    Raises:
        MlflowException: the artifact cannot be stored; the file is kept, and named.
    """
    path = _path(run_id)
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LARGEST_BYTES, 0))
            text = masked(file.read().decode(errors="replace"))
    except FileNotFoundError:
        return False
    if text:
        try:
            mlflow.MlflowClient().log_text(run_id, text, ARTIFACT)
        except (MlflowException, OSError) as error:
            raise MlflowException(f"{ARTIFACT} is kept in {path}: {error}") from error
    path.unlink(missing_ok=True)
    return bool(text)


def _path(run_id: str) -> Path:
    return Path(tempfile.gettempdir(), f"ml-pipes-{run_id}.log")


def _mlflow_level() -> int:
    """Return the level of MLflow's messages on the terminal."""
    name = (MLFLOW_LOGGING_LEVEL.get() or "").upper()
    return logging.getLevelNamesMapping().get(name, logging.WARNING)


def _is_for_terminal(record: logging.LogRecord) -> bool:
    library = record.name.split(".")[0]
    if library == OWN_LOGGER:
        return True
    if record.name.startswith("mlflow.projects"):  # workflows report how their steps end
        return False
    return record.levelno >= (_mlflow_level() if library == "mlflow" else logging.WARNING)
