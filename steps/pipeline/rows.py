"""Which rows a champion has seen, kept with its version: those are no test of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from steps.pipeline.splits import Part

Hashes = npt.NDArray[np.uint64]


def row_hashes(frame: pd.DataFrame) -> Hashes:
    """Return a hash of each row's values, shape (n_rows,), whatever the order of the columns.

    A hash has 64 bits: that any of 2 million new rows is taken for one of 10 million seen ones
    has a chance of one in a million.
    """
    ordered = frame[sorted(frame.columns)]
    return pd.util.hash_pandas_object(ordered, index=False).to_numpy(np.uint64)


@dataclass(frozen=True)
class Seen:
    """The rows that took part in fitting and choosing a model.

    Attributes:
        hashes: of the rows, sorted, each once.
        rows: how many they were.
        until: the latest time among them, as text that says its kind; empty without time.
    """

    hashes: Hashes
    rows: int
    until: str

    @classmethod
    def of(cls, training: Part, validation: Part, latest: dict[str, str]) -> Self:
        """Describe the rows of both parts; `latest` holds the last time in each, by name."""
        parts = (training, validation)
        hashes = np.concatenate([row_hashes(part.frame) for part in parts])
        first, second = (latest[part.name] for part in parts)
        until = first if newer(first, second) else second
        return cls(np.unique(hashes), len(hashes), until)

    def write(self, file: Path) -> None:
        """Write it to `file`."""
        table = pa.table({"hash": self.hashes})
        notes = {"rows": str(self.rows), "until": self.until}
        pa.parquet.write_table(table.replace_schema_metadata(notes), file)

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Read what `write` wrote; None if there is none."""
        if not file.is_file():
            return None
        table = pa.parquet.read_table(file)
        notes = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
        return cls(table["hash"].to_numpy(), int(notes["rows"]), notes["until"])

    def advance_over(self, other: Self | None) -> str:
        """Return in words what these rows have over `other`: newer or more; empty if nothing."""
        if other is None:
            return ""
        if newer(self.until, other.until):
            return f"it has seen newer rows (until {self.until}, not {other.until})"
        if self.rows > other.rows:
            return f"it has seen more rows ({self.rows:,}, not {other.rows:,})"
        return ""


def newer(time: str, other: str) -> bool:
    """Tell whether `time` is later than `other`; two kinds of time cannot be compared.

    A time is a number, or a timestamp in ISO 8601.
    """
    if not time or not other:
        return False
    try:
        return float(time) > float(other)
    except ValueError:
        try:
            return pd.Timestamp(time) > pd.Timestamp(other)
        except (ValueError, TypeError):  # a number against a timestamp, or with and without zone
            return False
