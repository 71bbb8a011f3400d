"""Interrupts by SIGINT or SIGTERM, also of steps that still import their libraries.

This module and what it imports need nothing but the standard library.
"""

import os
import re
import signal
import subprocess
import sys

from steps.runtime.live_line import erasure

INTERRUPTED_STATUS = 130


def exit_on_interrupt_during_imports() -> None:
    """Exit with one line if an entry point is interrupted before it handles interrupts itself."""
    if not (title := _entry_point_title()):
        return

    def exit_interrupted(*_: object) -> None:
        ignore_interrupts()
        os.write(sys.stderr.fileno(), f"{erasure()}ml-pipes: {title}: interrupted\n".encode())
        if run_id := os.environ.get("MLFLOW_RUN_ID"):
            mark_killed_later(run_id)
        os._exit(INTERRUPTED_STATUS)

    signal.signal(signal.SIGTERM, exit_interrupted)
    signal.signal(signal.SIGINT, exit_interrupted)


def ignore_interrupts() -> None:
    """Ignore further signals: MLflow and the terminal may both send one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def mark_killed_later(run_id: str) -> None:
    """Start a process that waits for the status FAILED and replaces it by KILLED.

    It has a session of its own, out of reach of the terminal's signals.
    """
    subprocess.Popen(
        [sys.executable, "-m", "steps.runtime.mark_killed", run_id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _entry_point_title() -> str:
    """Return the entry point that `python -m` is starting; empty if it starts something else."""
    if sys.argv[:1] != ["-m"]:
        return ""
    module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    found = re.fullmatch(r"steps\.(engines\.)?(\w+)", module)
    return f"{'train_' if found[1] else ''}{found[2]}" if found else ""
