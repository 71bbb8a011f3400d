"""Parts of a table: rows to read, files to write, and results."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet

ROWS_AT_ONCE = 20_000


class Outcome(NamedTuple):
    """The result of scoring a part.

    Attributes:
        part: the number of the part.
        rows: the number of scored rows.
        positives: the number of rows with predicted label 1.
        problem: the row that cannot be scored, and why; empty if all rows were scored.
        unseen: the worker that does not see a path, and the path; empty if it sees all.
    """

    part: int
    rows: int
    positives: int
    problem: str = ""
    unseen: str = ""


# The schema of an outcome for Spark.
OUTCOME = "part long, rows long, positives long, problem string, unseen string"


def part_file(folder: Path, part: int) -> Path:
    """Return the output file of a part."""
    return folder / f"part-{part:05d}.parquet"


@dataclass(frozen=True)
class RowRange:
    """A range of rows in a Parquet file: `rows` of them, starting at `first`."""

    file: str
    first: int
    rows: int

    @property
    def first_row(self) -> int:
        """The number of the first row among those of `origin`."""
        return self.first

    @property
    def origin(self) -> str:
        """The rows in words."""
        return self.file

    def read(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in batches, reading only the row groups that contain them."""
        with pa.parquet.ParquetFile(self.file) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            starts = np.cumsum([0, *sizes])
            groups = [
                i
                for i in range(len(sizes))
                if starts[i] < self.first + self.rows and starts[i + 1] > self.first
            ]
            skip, left = self.first - int(starts[groups[0]]), self.rows
            for batch in file.iter_batches(ROWS_AT_ONCE, groups, use_threads=False):
                wanted = batch.slice(min(skip, len(batch)), left)
                skip, left = max(skip - len(batch), 0), left - len(wanted)
                if len(wanted):
                    yield wanted
                if not left:
                    return
