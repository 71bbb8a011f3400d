"""Scoring a partition of a large table: what each worker of a Spark cluster does.

A worker needs numpy, pandas, pyarrow and the library of the scorer, nothing else of this project
but `serving`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pyspark import SparkFiles, TaskContext

from serving.errors import ServingError
from serving.prediction import uuid_8
from serving.scorer import Floats, PortableScorer

# What is added to the columns of the input.
PREDICTION_COLUMNS = {
    "prediction_id": pa.string(),
    "score": pa.float64(),
    "label": pa.int32(),
    "model_name": pa.string(),
    "model_version": pa.string(),
}
# What a worker says of a partition; `problem` is empty if all went well.
OUTCOME = "part int, rows long, positives long, problem string"
OUTCOME_SCHEMA = pa.schema(
    {"part": pa.int32(), "rows": pa.int64(), "positives": pa.int64(), "problem": pa.string()}
)


def part_file(folder: Path, part: int) -> Path:
    """Return the file of a partition."""
    return folder / f"part-{part:05d}.parquet"


@dataclass(frozen=True)
class PartitionScorer:
    """Scores the partitions of a Spark data frame, each into a Parquet file of its own.

    A file gets its name when it is complete, and one that is there already is left as it is.

    Attributes:
        folder: where the files go; all workers must see it.
        job: what is scored, by what: predictions of one job always have the same ids.
        scorer: the name under which Spark ships the scorer.
        model_name: the champion's.
        model_version: its version.
    """

    folder: str
    job: str
    scorer: str
    model_name: str
    model_version: str

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score the rows of this task's partition; yield what came of it (`OUTCOME`)."""
        context = TaskContext.get()
        assert context is not None, "it runs as a task of Spark"
        part = context.partitionId()
        file = part_file(Path(self.folder), part)
        partial = file.with_name(f".{file.name}.{context.taskAttemptId()}")
        try:
            if file.exists():
                for _ in batches:  # Spark wants its rows taken
                    pass
                labels = pa.parquet.read_table(file, columns=["label"])["label"].to_numpy()
                rows, positives, problem = len(labels), int(labels.sum()), ""
            else:
                rows, positives, problem = self._write(batches, part, partial)
                if rows and not problem:
                    partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
        outcome = [[part], [rows], [positives], [problem]]
        yield pa.RecordBatch.from_arrays(
            [pa.array(v, kind) for v, kind in zip(outcome, OUTCOME_SCHEMA.types, strict=True)],
            schema=OUTCOME_SCHEMA,
        )

    def _write(
        self, batches: Iterable[pa.RecordBatch], part: int, file: Path
    ) -> tuple[int, int, str]:
        """Write the scored rows to `file`; return rows, positives and what is wrong, if it is."""
        scorer = _load(SparkFiles.get(self.scorer))
        rows = positives = 0
        writer: pa.parquet.ParquetWriter | None = None
        try:
            for batch in batches:
                try:
                    scores = scorer.score(batch.select(scorer.names).to_pandas())
                except ServingError as error:
                    return rows, positives, f"{error} (counted from row {rows} of part {part})"
                scored = self._scored(batch, scores, scorer.manifest.threshold, part, rows)
                if writer is None:
                    writer = pa.parquet.ParquetWriter(
                        file, scored.schema, use_dictionary=_repeating(scored.schema)
                    )
                writer.write_batch(scored)
                rows += len(scores)
                positives += int((scores >= scorer.manifest.threshold).sum())
        finally:
            if writer is not None:
                writer.close()
        return rows, positives, ""

    def _scored(
        self, batch: pa.RecordBatch, scores: Floats, threshold: float, part: int, first: int
    ) -> pa.RecordBatch:
        added = {
            "prediction_id": batch_prediction_ids(f"{self.job}\0{part}", first, len(scores)),
            "score": pa.array(scores),
            "label": pa.array((scores >= threshold).astype(np.int32)),
            "model_name": pa.repeat(self.model_name, len(scores)),
            "model_version": pa.repeat(self.model_version, len(scores)),
        }
        return pa.RecordBatch.from_arrays(
            [*batch.columns, *(added[name] for name in PREDICTION_COLUMNS)],
            [*batch.schema.names, *PREDICTION_COLUMNS],
        )


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


def _repeating(schema: pa.Schema) -> list[str]:
    """Return the columns worth a dictionary: to look for repeated measures and ids takes most of
    the time of writing.
    """
    return [
        column.name
        for column in schema
        if not pa.types.is_floating(column.type) and column.name != "prediction_id"
    ]


@cache
def _load(folder: str) -> PortableScorer:
    """Load the scorer once in each worker process."""
    return PortableScorer.load(folder)
