"""Scoring a part of a large table: what each worker of a Spark cluster does.

A worker needs numpy, pandas, pyarrow and the library of the scorer, nothing else of this project
but `serving`.
"""

import csv
import hashlib
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zipimport import zipimporter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
from pyspark import SparkFiles, TaskContext

from serving.errors import InputError, ServingError
from serving.prediction import entity_id, uuid_8
from serving.scorer import Floats, PortableScorer

# What is added to the columns of the input.
PREDICTION_COLUMNS = ("prediction_id", "score", "label", "model_name", "model_version")
# Where Spark keeps a line of CSV that does not fit its columns; empty for all other lines.
MISFIT_LINE = "misfit line"
# So much of it is shown, to be looked for: rows are counted within a part.
SHOWN = 40
ROWS_AT_ONCE = 20_000
# Row groups of the output: large enough to be read fast, small enough to be held (40 MB).
ROWS_A_GROUP = 120_000


class Outcome(NamedTuple):
    """What a worker says of a part; `problem` is empty if all went well."""

    part: int
    rows: int
    positives: int
    problem: str


# As Spark describes it.
OUTCOME = "part long, rows long, positives long, problem string"


def part_file(folder: Path, part: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{part:05d}.parquet"


@dataclass(frozen=True)
class RowRange:
    """Some rows of a Parquet file: `rows` of them from `first` on."""

    file: str
    first: int
    rows: int

    def read(self) -> Iterator[pa.RecordBatch]:
        """Give the rows in batches, out of as few row groups as hold them."""
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


@dataclass(frozen=True)
class PartScorer:
    """Scores the parts of a table, each into a Parquet file of its own.

    A file gets its name when it is complete, and one that is there already is left as it is.

    Attributes:
        folder: where the files go; all workers must see it.
        job: what is scored, by what: predictions of one job always have the same ids.
        scorer: the name under which Spark ships the scorer.
        model_name: the champion's.
        model_version: its version.
        check_ids: whether the caller's ids must be such as the prediction log takes.
    """

    folder: str
    job: str
    scorer: str
    model_name: str
    model_version: str
    check_ids: bool

    def of_partition(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score a partition of a Spark data frame; yield what came of it (`OUTCOME`)."""
        batches = iter(batches)
        outcome = self._outcome(self._fitting(batches), f"part {_this_part()}")
        for _ in batches:  # Spark wants its rows taken
            pass
        yield pa.RecordBatch.from_pylist([outcome._asdict()])

    def of_rows(self, ranges: Iterable[RowRange]) -> Iterator[Outcome]:
        """Score the range of rows of this task, if any, which the worker reads itself."""
        for rows in ranges:
            try:
                yield self._outcome(rows.read(), rows.file, rows.first)
            except FileNotFoundError as error:
                yield Outcome(_this_part(), 0, 0, f"the workers of Spark must see it: {error}")

    def _fitting(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Give batches without the column of misfit lines, which CSV has.

        Raises:
            InputError: there is such a line.
        """
        for batch in batches:
            if MISFIT_LINE in batch.schema.names:
                lines, batch = batch[MISFIT_LINE], batch.drop_columns([MISFIT_LINE])
                if misfits := np.flatnonzero(lines.is_valid()).tolist():
                    row = misfits[0]
                    names = _load(SparkFiles.get(self.scorer)).names
                    raise InputError(_misfit(lines[row].as_py(), batch, row, names))
            yield batch

    def _outcome(self, batches: Iterable[pa.RecordBatch], origin: str, first: int = 0) -> Outcome:
        part = _this_part()
        file = part_file(Path(self.folder), part)
        partial = file.with_name(f".{file.name}.{uuid.uuid4()}")
        found = self._kept(file) if file.exists() else self._written(batches, part, partial)
        rows = positives = 0
        try:
            for labels in found:
                rows, positives = rows + len(labels), positives + int(labels.sum())
            if partial.exists():
                partial.rename(file)
        except ServingError as error:
            problem = f"{error} (counted from row {first + rows} of {origin})"
            return Outcome(part, rows, positives, problem)
        finally:
            partial.unlink(missing_ok=True)
            _forget_zip_files()
        return Outcome(part, rows, positives, "")

    def _kept(self, file: Path) -> Iterator[npt.NDArray[np.int32]]:
        """Yield the labels of a part that is there already, batch by batch.

        Raises:
            ServingError: the log, which the run that wrote it perhaps did not want, takes not
                all of its ids.
        """
        with pa.parquet.ParquetFile(file) as part:
            for batch in part.iter_batches(ROWS_AT_ONCE, columns=["label", "id"]):
                self._check_ids(batch)
                yield batch["label"].to_numpy()

    def _written(
        self, batches: Iterable[pa.RecordBatch], part: int, file: Path
    ) -> Iterator[npt.NDArray[np.int32]]:
        """Write the scored rows to `file`; yield the labels of each batch.

        Raises:
            ServingError: a row cannot be scored, or have its id in the log.
        """
        scorer = _load(SparkFiles.get(self.scorer))
        threshold = scorer.manifest.threshold
        rows = 0
        held: list[pa.RecordBatch] = []
        writer: pa.parquet.ParquetWriter | None = None
        try:
            for batch in batches:
                self._check_ids(batch)
                scores = scorer.score_matrix(scorer.checked(_matrix(batch, scorer.names)))
                labels = (scores >= threshold).astype(np.int32)
                held.append(self._scored(batch, scores, labels, f"{self.job}\0{part}", rows))
                rows += len(labels)
                if writer is None:
                    writer = _writer(file, held[0].schema)
                if sum(map(len, held)) >= ROWS_A_GROUP:
                    writer.write_table(pa.Table.from_batches(held))
                    held.clear()
                yield labels
            if writer is not None and held:
                writer.write_table(pa.Table.from_batches(held))
        finally:
            if writer is not None:
                writer.close()

    def _check_ids(self, batch: pa.RecordBatch) -> None:
        if self.check_ids and "id" in batch.schema.names:
            for row, key in enumerate(batch["id"].to_pylist()):
                entity_id(key, row)

    def _scored(
        self,
        batch: pa.RecordBatch,
        scores: Floats,
        labels: npt.NDArray[np.int32],
        key: str,
        first: int,
    ) -> pa.RecordBatch:
        added = (
            batch_prediction_ids(key, first, len(scores)),
            pa.array(scores),
            pa.array(labels),
            pa.repeat(self.model_name, len(scores)),
            pa.repeat(self.model_version, len(scores)),
        )
        return pa.RecordBatch.from_arrays(
            [*batch.columns, *added], [*batch.schema.names, *PREDICTION_COLUMNS]
        )


def _this_part() -> int:
    context = TaskContext.get()
    assert context is not None, "it runs as a task of Spark"
    return context.partitionId()


def _misfit(line: str, batch: pa.RecordBatch, row: int, features: list[str]) -> str:
    """Return what is wrong with a line of CSV that became, as far as possible, a row of a batch."""
    (read,) = batch.slice(row, 1).to_pylist()
    given = dict(zip(read, next(csv.reader([line])), strict=False))
    for name in features:
        if read[name] is None and given.get(name):
            return f"column {name}, row {row}: must be a number, not {given[name][:SHOWN]!r}"
    rule = f"must have one value for each of {len(read)} columns"
    return f"row {row}: {rule}, not {line[:SHOWN]!r}"


def _matrix(batch: pa.RecordBatch, names: list[str]) -> Floats:
    """Return numeric columns as a matrix of shape (n_rows, n_features), NaN where missing."""
    columns = (batch[name].cast(pa.float64(), safe=False) for name in names)
    return np.column_stack([column.to_numpy(zero_copy_only=False) for column in columns])


def batch_prediction_ids(key: str, first_row: int, n_rows: int) -> pa.StringArray:
    """Return ids of the rows from `first_row` on of what `key` names: always the same.

    They are UUIDs of version 8: 74 bits of a digest of the key, then the number of the row.
    """
    begin = uuid_8(hashlib.sha256(f"batch\0{key}".encode()).digest()[:16])[:24]
    rows = np.arange(first_row, first_row + n_rows, dtype=np.uint64)
    digits = rows[:, None] >> np.arange(44, -1, -4, dtype=np.uint64) & np.uint64(0xF)
    text = np.empty((n_rows, 36), dtype=np.uint8)
    text[:, :24] = np.frombuffer(begin.encode(), dtype=np.uint8)
    text[:, 24:] = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits]
    ends = np.arange(0, text.size + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(n_rows, pa.py_buffer(ends), pa.py_buffer(text))


def _writer(file: Path, schema: pa.Schema) -> pa.parquet.ParquetWriter:
    """Open a Parquet file, with dictionaries only where they are worth it: to look for repeated
    measures and ids takes most of the time of writing.
    """
    repeating = [
        column.name
        for column in schema
        if not pa.types.is_floating(column.type) and column.name != "prediction_id"
    ]
    return pa.parquet.ParquetWriter(file, schema, use_dictionary=repeating)


@cache
def _load(folder: str) -> PortableScorer:
    """Load the scorer once in each worker process."""
    return PortableScorer.load(folder)


def _forget_zip_files() -> None:
    """Let Python forget what it knows of the zip files that it imports from.

    Before each task Spark makes it read all that again, in 0.1 s: Spark's own are large. Now it
    reads them when it wants a module of them.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[place]
