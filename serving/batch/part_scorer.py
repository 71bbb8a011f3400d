"""Scorer for the parts of a table, as it runs in a worker."""

import socket
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipimport import zipimporter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
from pyspark import SparkFiles, TaskContext

from serving.batch.csv_range import CsvRange
from serving.batch.malformed_lines import without_malformed_lines
from serving.batch.output import PartWriter, added_columns, batch_prediction_ids, output_columns
from serving.batch.parts import ROWS_AT_ONCE, Outcome, RowRange, part_file
from serving.errors import ServingError
from serving.model.features import Floats
from serving.model.prediction import parse_entity_id
from serving.model.scorer import PortableScorer

Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PartScorer:
    """Scores parts of a table, each into a Parquet file of its own.

    A file gets its name when it is complete; existing files are not scored again.

    Attributes:
        folder: the folder of the files, which all workers must see.
        job: identifies input and model: predictions of one job always have the same ids.
        scorer: the name of the archive in which Spark ships the scorer.
        model_name: the name of the champion.
        model_version: the version of the champion.
        check_ids: whether the ids of entities must be valid for the prediction log.
        columns: the names of the columns, which Spark's partitions have in this order.
    """

    folder: str
    job: str
    scorer: str
    model_name: str
    model_version: str
    check_ids: bool
    columns: tuple[str, ...]

    def score_partition(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Score a partition of a Spark data frame; yield its outcome (see `OUTCOME`)."""
        batches = (batch.rename_columns(list(self.columns)) for batch in batches)
        outcome = self._score_part(self._well_formed(batches), f"part {_part_number()}")
        for _ in batches:  # Spark requires that all rows are consumed
            pass
        yield pa.RecordBatch.from_pylist([outcome._asdict()])

    def score_ranges(self, ranges: Iterable[RowRange | CsvRange]) -> Iterator[Outcome]:
        """Score the range of this task, if any, which the worker reads itself."""
        for rows in ranges:
            try:
                yield self._score_part(rows.read(), rows.origin, rows.first_row)
            except FileNotFoundError:
                unseen = self.folder if Path(rows.file).exists() else rows.file
                worker = socket.gethostname()
                yield Outcome(_part_number(), 0, 0, unseen=f"{worker} does not see {unseen}")

    def _well_formed(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = [feature.name for feature in self._load().manifest.features if feature.is_plain]
        yield from without_malformed_lines(batches, numbers)

    def _score_part(
        self, batches: Iterable[pa.RecordBatch], origin: str, first: int = 0
    ) -> Outcome:
        part = _part_number()
        file = part_file(Path(self.folder), part)
        partial = file.with_name(f".{file.name}.{uuid.uuid4()}")
        labels_of_batches = (
            self._read_labels(file) if file.exists() else self._write(batches, part, partial)
        )
        rows = positives = 0
        try:
            for labels in labels_of_batches:
                rows, positives = rows + len(labels), positives + int(labels.sum())
            if partial.exists():
                partial.rename(file)
        except ServingError as error:
            problem = f"{error} (counted from row {first + rows} of {origin})"
            return Outcome(part, rows, positives, problem)
        finally:
            partial.unlink(missing_ok=True)
            _forget_zip_files()
        return Outcome(part, rows, positives)

    def _read_labels(self, file: Path) -> Iterator[Labels]:
        """Yield the labels of a part that is complete, batch by batch.

        Raises:
            ServingError: an id is invalid for the log, which an earlier run may not have used.
        """
        with pa.parquet.ParquetFile(file) as part:
            _, _, label, *_ = added_columns(part.schema_arrow.names)
            for batch in part.iter_batches(ROWS_AT_ONCE, columns=[label, self._id_column]):
                self._check_entity_ids(batch)
                yield batch[label].to_numpy()

    def _write(self, batches: Iterable[pa.RecordBatch], part: int, file: Path) -> Iterator[Labels]:
        """Write scored rows to `file`; yield the labels of each batch.

        Raises:
            ServingError: a row cannot be scored, or has an id that is invalid for the log.
        """
        scorer = self._load()
        rows = 0
        with PartWriter(file) as writer:
            for batch in batches:
                self._check_entity_ids(batch)
                scores = scorer.score_rows(scorer.schema.parse_batch(batch))
                labels = (scores >= scorer.manifest.threshold).astype(np.int32)
                ids = batch_prediction_ids(f"{self.job}\0{part}", rows, len(labels))
                writer.write(self._with_predictions(batch, ids, scores, labels))
                rows += len(labels)
                yield labels

    def _check_entity_ids(self, batch: pa.RecordBatch) -> None:
        column = self._id_column
        if self.check_ids and column in batch.schema.names:
            for row, value in enumerate(batch[column].to_pylist()):
                parse_entity_id(value, row, column)

    @property
    def _id_column(self) -> str:
        return self._load().manifest.id_column

    def _with_predictions(
        self, batch: pa.RecordBatch, ids: pa.StringArray, scores: Floats, labels: Labels
    ) -> pa.RecordBatch:
        added = (
            ids,
            pa.array(scores),
            pa.array(labels),
            pa.repeat(self.model_name, len(scores)),
            pa.repeat(self.model_version, len(scores)),
        )
        return pa.RecordBatch.from_arrays(
            [*batch.columns, *added], output_columns(batch.schema.names)
        )

    def _load(self) -> PortableScorer:
        return _load_scorer(SparkFiles.get(self.scorer))


@cache
def _load_scorer(folder: str) -> PortableScorer:
    """Load the scorer once in each worker process."""
    return PortableScorer.load(folder)


def _part_number() -> int:
    context = TaskContext.get()
    assert context is not None, "only tasks of Spark have one"
    return context.partitionId()


def _forget_zip_files() -> None:
    """Drop Python's cache of the zip files on its path.

    Spark invalidates that cache before each task, which reads its own large archives again: over
    40 short tasks this took 3.4 of 10.2 s. Dropped entries are read only when a module is imported.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[path]
