"""Public tables as people have them: in packages, and as files in the folder MLPIPES_TABLES."""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.packaged_tables import IN_PACKAGES, file_and_target


@dataclass(frozen=True)
class OwnTable:
    """A CSV file and its target."""

    file: Path
    target: str

    @property
    def rows(self) -> pd.DataFrame:
        """The rows as pandas reads them."""
        return pd.read_csv(self.file)


# Targets of the files of the same name.
IN_FOLDER = {
    "bank": "deposit",
    "churn": "Churn",
    "employee": "left",
    "income": "income >50K",
    "telescope": "Class",
}
NORMAL = "titanic"
TABLES = [
    pytest.param(name, marks=[] if name == NORMAL else pytest.mark.slow)
    for name in (*IN_PACKAGES, *IN_FOLDER)
]


def own_table(name: str, folder: Path) -> OwnTable:
    """Return a table, written into `folder` if it ships in a package; skip if it is absent."""
    if name in IN_PACKAGES:
        return OwnTable(*file_and_target(name, folder))
    tables = os.environ.get("MLPIPES_TABLES")
    if not tables:
        pytest.skip(f"MLPIPES_TABLES names no folder with {name}.csv")
    file = Path(tables) / f"{name}.csv"
    if not file.exists():
        pytest.skip(f"MLPIPES_TABLES: there is no {file}")
    return OwnTable(file, IN_FOLDER[name])
