"""The folder of this machine for downloaded data and locks."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return MLPIPES_CACHE, else `ml-pipes` in the user's cache folder.

    It lies outside of the project because all clones share it. It may not exist yet.
    """
    if folder := os.environ.get("MLPIPES_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ml-pipes"
