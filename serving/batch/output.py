"""Output of batch scoring: the rows of a part with their predictions, in a Parquet file."""

import hashlib
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from serving.model.prediction_ids import uuid_8
from serving.private_files import create_file_like_folder

# The columns added to those of the input, at the end.
PREDICTION_COLUMNS = ("prediction_id", "score", "label", "model_name", "model_version")
# Row groups large enough to be read fast, small enough to be held in memory (40 MB).
ROWS_PER_GROUP = 120_000


class PartWriter:
    """Writer that collects batches into row groups; a part without rows leaves no file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._pending: list[pa.RecordBatch] = []
        self._writer: pa.parquet.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        self._pending.append(batch)
        if sum(map(len, self._pending)) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self._writer = _open_writer(self._file, self._pending[0].schema)
        self._writer.write_table(pa.Table.from_batches(self._pending))
        self._pending.clear()


def _open_writer(file: Path, schema: pa.Schema) -> pa.parquet.ParquetWriter:
    # Dictionaries of values that hardly repeat, measures and ids, take most of the time of writing.
    (prediction_id, *_) = added_columns(schema.names)
    repeating = [
        column.name
        for column in schema
        if not pa.types.is_floating(column.type) and column.name != prediction_id
    ]
    create_file_like_folder(file)
    return pa.parquet.ParquetWriter(file, schema, use_dictionary=repeating)


def output_columns(columns: list[str]) -> list[str]:
    """Return the columns of the output for those of the input, which keep their names.

    A column of the prediction whose name is taken gets the first free number: score_1, score_2.
    Many readers of Parquet do not tell names in other cases apart.
    """
    names = list(columns)
    taken = {name.casefold() for name in columns}
    for name in PREDICTION_COLUMNS:
        numbered = (f"{name}_{number}" for number in count(1))
        names.append(next(free for free in chain([name], numbered) if free not in taken))
    return names


def added_columns(columns: list[str]) -> list[str]:
    """Return the columns of the prediction among those of the output, as PREDICTION_COLUMNS."""
    return columns[-len(PREDICTION_COLUMNS) :]


def batch_prediction_ids(key: str, first_row: int, n_rows: int) -> pa.StringArray:
    """Return the ids of rows from `first_row` on; the same for the same `key`.

    They are UUIDs of version 8: 74 bits of a digest of the key, then the row number.
    """
    begin = uuid_8(hashlib.sha256(f"batch\0{key}".encode()).digest()[:16])[:24]
    rows = np.arange(first_row, first_row + n_rows, dtype=np.uint64)
    digits = rows[:, None] >> np.arange(44, -1, -4, dtype=np.uint64) & np.uint64(0xF)
    text = np.empty((n_rows, 36), dtype=np.uint8)
    text[:, :24] = np.frombuffer(begin.encode(), dtype=np.uint8)
    text[:, 24:] = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits]
    ends = np.arange(0, text.size + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(n_rows, pa.py_buffer(ends), pa.py_buffer(text))
