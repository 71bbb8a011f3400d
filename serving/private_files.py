"""Files and folders that only their owner may read."""

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("ml-pipes")

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
OF_OTHERS = 0o077


def create_private_file(file: Path) -> None:
    """Create an empty file, unless it exists or its folder does not."""
    with suppress(FileExistsError, FileNotFoundError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE_FILE))


def create_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents; existing ones keep their modes."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(PRIVATE_FOLDER, exist_ok=True)


def create_export_file(file: Path) -> None:
    """Create an empty file that others may read only in a folder that is open to all."""
    if not _is_open_to_all(file.parent):
        create_private_file(file)


def create_export_folder(folder: Path) -> None:
    """Create a folder that others may read only in a folder that is open to all."""
    folder.mkdir(0o777 if _is_open_to_all(folder.parent) else PRIVATE_FOLDER)


def create_file_like_folder(file: Path) -> None:
    """Create an empty file, private if its folder is."""
    if not file.parent.stat().st_mode & OF_OTHERS:
        create_private_file(file)


def _is_open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def mention_if_open(path: Path) -> None:
    """Log a warning if other users have access to `path`, whose mode is left as it is."""
    with suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & OF_OTHERS:
            private = PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE
            logger.warning(
                "%s is open to other users of this machine (mode %o): chmod %o it",
                path,
                mode,
                private,
            )
