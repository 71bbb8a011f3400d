"""The project's folder, and the entry points that its MLproject file declares."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
ENGINE_PREFIX = "train_"


@cache
def entry_points() -> dict[str, Any]:
    """Return the entry points that `MLproject` declares, by name."""
    declared: dict[str, Any] = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"]
    return declared


def module_of(entry_point: str) -> str:
    """Return the module that the command of an entry point runs."""
    command: str = entry_points()[entry_point]["command"]
    return command.split("python -m ", 1)[1].split()[0]


def engine_names() -> list[str]:
    """Return the names of the engines: those of the entry points `train_NAME`."""
    return [
        name.removeprefix(ENGINE_PREFIX)
        for name in entry_points()
        if name.startswith(ENGINE_PREFIX)
    ]
