"""Child processes that end with the process that started them."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TERMINATION_SECONDS = 10


@contextmanager
def supervised_process(
    command: list[str], output: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` until the context exits or this process ends, even by SIGKILL.

    A guard process reads from a pipe that this process holds open. The system closes the pipe
    when this process ends, and then the guard ends the command.

    Args:
        command: The program and its arguments.
        output: The file for standard output and standard error.
        environment: The command's environment variables; None for those of this process.
    """
    guard = [sys.executable, "-m", "steps.runtime.processes", *command]
    with output.open("wb") as log:
        process = subprocess.Popen(
            guard,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # the guard must survive a signal to our process group
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _guard(command: list[str]) -> int:
    """Run `command` until it ends or standard input is closed; return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.kill())

    def terminate_at_end_of_input() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock would keep Python from exiting
            pass
        child.terminate()
        try:
            child.wait(TERMINATION_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=terminate_at_end_of_input, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
