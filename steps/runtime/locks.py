"""Locks between processes of this machine."""

import hashlib
import uuid
from pathlib import Path

import mlflow
from filelock import FileLock

from steps.runtime.cache_folder import cache_folder


def machine_lock(key: str) -> FileLock:
    """Return the lock identified by `key`; its file lies in the cache folder."""
    return FileLock(_folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.lock")


def model_lock(model_name: str, purpose: str = "") -> FileLock:
    """Return the lock for work on a registered model, one for each `purpose`."""
    return machine_lock(f"{mlflow.get_registry_uri()} {model_name} {purpose}".strip())


def lock_folder_id() -> str:
    """Return an identifier of the folder of locks: processes that share it exclude each other."""
    file = _folder() / "id"
    with machine_lock("id of the folder"):
        if not file.is_file() or not file.stat().st_size:
            file.write_text(uuid.uuid4().hex)
        return file.read_text()


def _folder() -> Path:
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
