"""DuckDB sessions with bounded memory, in a temporary folder."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from steps.runtime.errors import ParameterError

MEMORY_VARIABLE = "MLPIPES_MEMORY"
# DuckDB holds this share of the machine's memory, between these limits. The step needs about
# twice as much beside it, for Python, its libraries and the vectors of a split.
MEMORY_SHARE = 1 / 16
MIN_MEMORY, MAX_MEMORY = 2**29, 2**30
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


@dataclass(frozen=True)
class Session:
    """A DuckDB database in a folder of its own.

    Attributes:
        connection: the connection; dates with time zones are read in UTC.
        folder: a place for temporary files, removed with the session.
    """

    connection: duckdb.DuckDBPyConnection
    folder: Path


@contextmanager
def session() -> Iterator[Session]:
    """Open a DuckDB database in a temporary folder; remove both on exit.

    Raises:
        ParameterError: the memory limit is too low for a query, or no amount of memory.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as name:
        folder = Path(name)
        connection = duckdb.connect(
            folder / "tables.duckdb",
            config={
                "memory_limit": f"{memory_limit()}B",
                "temp_directory": str(folder / "spilled"),
                "autoinstall_known_extensions": False,
            },
        )
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        try:
            yield Session(connection, folder)
        except duckdb.OutOfMemoryException as error:
            if "No space left" in str(error):  # reported as a full disk
                raise
            raise ParameterError(
                f"{MEMORY_VARIABLE}: {memory_limit() // 2**20} MB are too little for this table; "
                "set more, such as 4GB"
            ) from error
        finally:
            connection.close()


def memory_limit() -> int:
    """Return how many bytes DuckDB may hold: MLPIPES_MEMORY, else a share of the machine's.

    Raises:
        ParameterError: MLPIPES_MEMORY is not an amount of memory.
    """
    if not (text := os.environ.get(MEMORY_VARIABLE, "").strip()):
        return int(min(max(machine_memory() * MEMORY_SHARE, MIN_MEMORY), MAX_MEMORY))
    found = re.fullmatch(r"(\d+)\s*([KMG]?I?)B?", text.upper())
    if not found or found[2] not in UNITS or not int(found[1]):
        raise ParameterError(f"{MEMORY_VARIABLE}: {text!r} is not an amount such as 512MB or 2GB")
    return int(found[1]) * UNITS[found[2]]


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of its container if that has fewer."""
    total = int(psutil.virtual_memory().total)
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    return total if limit == "max" else min(total, int(limit))
