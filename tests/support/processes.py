"""Processes below another process, any of which may end at any time."""

from contextlib import suppress
from signal import Signals

import psutil


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """Return `process` and all of its descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def send_signal(processes: list[psutil.Process], signal: Signals) -> None:
    """Send `signal` to those of `processes` that are still alive."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)


def processes_matching(
    process: psutil.Process, part: str, programs: tuple[str, ...] = ("python", "java")
) -> list[psutil.Process]:
    """Return the processes of `programs` below `process` with `part` in their command."""
    found = []
    for member in process_tree(process):
        with suppress(psutil.NoSuchProcess):
            if part in " ".join(member.cmdline()) and member.name().startswith(programs):
                found.append(member)
    return found


def has_loaded(process: psutil.Process, library: str) -> bool:
    """Return whether `process` is alive and maps a file with `library` in its path."""
    try:
        return any(library in mapped.path for mapped in process.memory_maps())
    except psutil.NoSuchProcess:  # a fork between its birth and its command looks like its parent
        return False


def java_processes(process: psutil.Process) -> list[psutil.Process]:
    """Return the Java processes below `process`."""
    return processes_matching(process, "java", programs=("java",))
