"""Locks between the processes of this machine."""

import hashlib

from filelock import FileLock

from steps.pipeline.sources import cache_folder


def lock_for(key: str) -> FileLock:
    """Return the lock of what `key` names; its file lies in the cache folder."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")
