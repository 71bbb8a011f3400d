"""The workspace of an earlier release, unpacked for tests.

`tests.support.make_earlier_release` made the archive; its README.txt lists the contents.
"""

import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

from tests.support.project import PROJECT

ARCHIVE = PROJECT / "tests" / "fixtures" / "earlier_release.zip"
# Stands for the folder of the workspace, as MLflow stores absolute paths.
PLACEHOLDER = "/@workspace@"


def unpack_earlier_release(folder: Path) -> Path:
    """Unpack the workspace of the earlier release into `folder`.

    Args:
        folder: The destination, created if necessary.

    Returns:
        The same folder as an absolute path. It holds `mlflow.db`, `mlruns`, the prediction log
        `predictions.db`, and the tables of the two trainings.
    """
    folder = folder.absolute()
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    replace_in_database(folder / "mlflow.db", PLACEHOLDER, str(folder))
    for file in (folder / "mlruns").rglob("*"):
        if file.is_file() and PLACEHOLDER.encode() in (content := file.read_bytes()):
            file.write_bytes(content.replace(PLACEHOLDER.encode(), str(folder).encode()))
    return folder


def replace_in_database(database: Path, old: str, new: str) -> None:
    """Replace `old` by `new` in all text of a SQLite database."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            columns = connection.execute(f'PRAGMA table_info("{table}")').fetchall()
            for _, column, *_ in columns:
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", :old, :new) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", :old)',
                    {"old": old, "new": new},
                )
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")  # free pages would keep the old text
