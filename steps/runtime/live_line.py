"""The live line of a terminal: the current step, its elapsed time, and what it is doing.

One process draws it: the first step on the terminal, usually `main`. It passes the name of a file
in an environment variable, and the process at work writes there what it is doing. The line is drawn
below the plain lines: each of those erases it first, in the same write.
"""

import json
import os
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# The file with the work to show; set while a line is drawn.
VARIABLE = "MLPIPES_LIVE_LINE"
ERASE = "\r\x1b[K"
REDRAW_SECONDS = 0.25


@dataclass(frozen=True)
class Work:
    """What is being done.

    Attributes:
        step: The entry point.
        since: The time at which it started, in seconds of the epoch.
        doing: What it is doing, as a phrase.
    """

    step: str
    since: float
    doing: str

    def line(self, columns: int) -> str:
        """Return the work as a line that does not wrap on a terminal of this width."""
        minutes, seconds = divmod(int(max(time.time() - self.since, 0)), 60)
        text = f"{self.step}  {minutes}:{seconds:02}  {' '.join(self.doing.split())}".rstrip()
        if _width(text) < columns:
            return text
        while text and _width(text) > columns - 2:
            text = text[:-1]
        return f"{text}…"


@contextmanager
def live_line() -> Iterator[None]:
    """Draw the live line, unless standard error is no terminal or the line is drawn already.

    `NO_COLOR`, `CI` and `TERM=dumb` turn it off.
    """
    if is_drawn() or not _is_wanted():
        yield
        return
    descriptor, name = tempfile.mkstemp(prefix="ml-pipes-")
    os.close(descriptor)
    terminal = os.dup(sys.stderr.fileno())
    done = threading.Event()
    drawer = threading.Thread(target=_draw, args=(Path(name), terminal, done), daemon=True)
    os.environ[VARIABLE] = name
    try:
        drawer.start()
        yield
    finally:
        done.set()
        drawer.join()
        del os.environ[VARIABLE]
        Path(name).unlink()
        os.close(terminal)


@contextmanager
def working(doing: str, step: str = "") -> Iterator[None]:
    """Show this work in the live line during the block, then what was shown before.

    Args:
        doing: The work as a phrase.
        step: The entry point that starts; empty for work of the entry point that is shown.
    """
    file = Path(os.environ.get(VARIABLE, ""))
    before = _read(file)
    if before is None and not step:
        yield
        return
    if before is None or step not in ("", before.step):
        shown = Work(step, time.time(), doing)
    else:
        shown = replace(before, doing=doing)
    _write(file, shown)
    try:
        yield
    finally:
        if before is not None:
            # The process that started a step has announced it: its time does not start again.
            _write(file, replace(before, doing="finishing") if before.step == step else before)


def is_drawn() -> bool:
    """Return whether this process or one that started it draws the live line."""
    return VARIABLE in os.environ


def erasure() -> str:
    """Return the characters that erase the live line, if there is one; plain lines start so."""
    return ERASE if is_drawn() else ""


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def _is_wanted() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("CI"):
        return False
    return os.environ.get("TERM", "dumb") != "dumb" and sys.stderr.isatty()


def _draw(file: Path, terminal: int, done: threading.Event) -> None:
    """Draw the work in `file` until `done` is set, then erase the line."""
    with suppress(OSError):  # a terminal that was closed
        while not done.wait(REDRAW_SECONDS):
            if work := _read(file):
                columns = os.get_terminal_size(terminal).columns or 80
                os.write(terminal, f"{ERASE}{work.line(columns)}".encode())
        os.write(terminal, ERASE.encode())


def _read(file: Path) -> Work | None:
    """Return the work in `file`; None if there is none, or while another process writes."""
    try:
        return Work(**json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return None


def _write(file: Path, work: Work) -> None:
    with suppress(OSError), file.open("r+") as stream:  # the drawing process may have ended
        stream.truncate(0)
        stream.write(json.dumps(asdict(work)))
