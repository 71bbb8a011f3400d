"""Requirements of logged models, pinned to what is installed here."""

from importlib.metadata import version


def pinned(*names: str) -> list[str]:
    """Return `name==version` for each installed distribution of `names`."""
    return [f"{name}=={version(name)}" for name in names]
