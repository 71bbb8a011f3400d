"""Processes below another process."""

import psutil


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """Return `process` and all of its descendants."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def processes_matching(process: psutil.Process, part: str) -> list[psutil.Process]:
    """Return the Python and Java processes below `process` with `part` in their command."""
    found = []
    for member in process_tree(process):
        try:
            if part in " ".join(member.cmdline()) and member.name().startswith(("python", "java")):
                found.append(member)
        except psutil.NoSuchProcess:
            continue
    return found


def java_processes(process: psutil.Process) -> list[psutil.Process]:
    """Return the Java processes below `process`."""
    return [member for member in processes_matching(process, "java") if member.name() == "java"]
