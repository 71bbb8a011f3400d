"""Child processes that never outlive the process that started them, however that one ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS_TO_END = 10


@contextmanager
def tied_process(
    command: list[str], output: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command`, its output in a file, until the context ends or this process dies.

    A guard process holds the other end of a pipe from this one. The system closes the pipe
    even if this process is killed, and then the guard ends the command.
    """
    guard = [sys.executable, "-m", "steps.pipeline.processes", *command]
    with output.open("wb") as log:
        process = subprocess.Popen(
            guard,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # whoever kills our process group leaves the guard to act
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


@contextmanager
def watched(process: subprocess.Popen[bytes], ended: Callable[[], Exception]) -> Iterator[None]:
    """Raise what `ended` gives as soon as `process` ends within the context.

    A client that asks a dead server again and again would say so minutes later. It works by a
    signal (SIGUSR1), so only in the main thread.
    """
    over = threading.Event()

    def watch() -> None:
        process.wait()
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)

    def interrupt(*_: object) -> None:
        if not over.is_set():
            raise ended()

    signal.signal(signal.SIGUSR1, interrupt)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _guard(command: list[str]) -> int:
    """Run `command` until it ends or standard input is closed; return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.kill())

    def end_with_input() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would stop Python from ending
            pass
        child.terminate()
        try:
            child.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=end_with_input, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
