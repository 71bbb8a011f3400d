"""Temporary folders of loaded champions, which the next start removes after a crash.

A process locks a file in each of its folders. Process ids would not do: containers that share a
temporary directory repeat them.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

logger = logging.getLogger("ml-pipes")

PREFIX = "ml-pipes-champion-"
LOCK = ".lock"


class ChampionFolder:
    """A new temporary folder at `path`, locked until it is removed."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        while (lock := _locked(self.path, os.O_CREAT)) is None:
            # Another process has just taken it for an abandoned one.
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = lock

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self.path, self._lock)

    def remove_with(self, owner: Any) -> None:
        """Remove the folder once `owner` is no longer used, or at the end of the process."""
        weakref.finalize(owner, _remove, self.path, self._lock)


def remove_abandoned() -> None:
    """Remove the folders of this user's processes that ended without doing so."""
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_own(folder) and (lock := _locked(folder)) is not None:
            _remove(folder, lock)
            removed += 1
    if removed:
        logger.info("removed %s champion folders of processes that were killed", removed)


def _is_own(folder: Path) -> bool:
    try:
        return not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False


def _locked(folder: Path, flags: int = 0) -> int | None:
    """Return the descriptor of the folder's lock, None if it is taken or missing."""
    file = folder / LOCK
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), file.stat()):  # not removed meanwhile
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
