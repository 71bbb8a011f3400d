"""A table of any size to be scored: what it holds, and in which parts workers read it."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from serving.batch import (
    MISFIT_LINE,
    OUTCOME,
    PREDICTION_COLUMNS,
    Outcome,
    PartScorer,
    RowRange,
)
from steps.pipeline.errors import DataError

# A part is a row group, unless there are fewer than the first; then each is divided, but not into
# less than that many rows. More would cost: what lies before a part in its row group is read twice.
FEWEST_PARTS, FEWEST_ROWS = 8, 65_536
NUMBERS = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
LOCAL = "file:"
# As the service takes them; whole numbers with a gap between them are doubles in pandas' files.
IDS = re.compile(r"string|bigint|int|smallint|tinyint|double|decimal\(\d+,0\)")


@dataclass(frozen=True)
class BatchInput:
    """A table in Spark.

    Attributes:
        uri: as the user gave it.
        table: its rows.
        ranges: the parts, if workers can read them without Spark, which is twice as fast: of
            Parquet files in folders. None otherwise: the parts are Spark's partitions.
    """

    uri: str
    table: DataFrame
    ranges: list[RowRange] | None

    @property
    def files(self) -> list[str]:
        """Each file with its size and time of change."""
        sc: Any = self.table.sparkSession.sparkContext
        found = []
        for uri in sorted(self.table.inputFiles()):
            path = sc._jvm.org.apache.hadoop.fs.Path(sc._jvm.java.net.URI(uri))
            status = path.getFileSystem(sc._jsc.hadoopConfiguration()).getFileStatus(path)
            found.append(f"{uri} {status.getLen()} {status.getModificationTime()}")
        return found

    @property
    def parts(self) -> int:
        """Into how many parts it is divided: the same for the same files."""
        if self.ranges is not None:
            return len(self.ranges)
        return self.table.rdd.getNumPartitions()

    def check_ids(self) -> None:
        """Check that the prediction log can keep the column `id`, if there is one.

        Raises:
            DataError: it cannot.
        """
        kind = dict(self.table.dtypes).get("id", "string")
        if not IDS.fullmatch(kind):
            raise DataError(
                f"{self.uri}: column id: must be text or whole numbers to be logged, it is {kind}"
            )

    def score(self, scorer: PartScorer) -> list[Outcome]:
        """Score each part, and return what came of it."""
        if self.ranges is not None:
            sc = self.table.sparkSession.sparkContext
            parts = sc.parallelize(self.ranges, max(len(self.ranges), 1))
            return parts.mapPartitions(scorer.of_rows).collect()
        rows = self.table.mapInArrow(scorer.of_partition, OUTCOME).collect()
        return [Outcome(*row) for row in rows]


def read_input(spark: SparkSession, uri: str, features: list[str]) -> BatchInput:
    """Look at the table at `uri`: features are numbers; other columns of CSV are text.

    Raises:
        DataError: it is not there, lacks a feature, or has a column of the result.
    """
    try:
        files = _files(spark, uri)
        is_parquet = _is_parquet(spark, files[0])
        footers = _footers(files) if is_parquet else {}
        table = spark.read.parquet(uri) if is_parquet else _read_csv(spark, uri, features)
    except AnalysisException as error:
        reason = "no such file" if "PATH_NOT_FOUND" in str(error) else str(error).splitlines()[0]
        raise DataError(f"{uri}: cannot be read: {reason}") from error
    if absent := [name for name in features if name not in table.columns]:
        raise DataError(
            f"{uri}: column {absent[0]}: must be there, it is a feature of the champion"
        )
    kinds = dict(table.dtypes)
    for name in features:
        if not kinds[name].startswith(NUMBERS):
            raise DataError(f"{uri}: column {name}: must be numeric, it is {kinds[name]}")
    if taken := [name for name in PREDICTION_COLUMNS if name in table.columns]:
        raise DataError(f"{uri}: column {taken[0]}: must be renamed, the result has such a column")
    return BatchInput(uri, table, _ranges(table, footers))


def _files(spark: SparkSession, uri: str) -> list[str]:
    """Return the files at `uri`, a large one first."""
    found = spark.read.format("binaryFile").load(uri).select("path").collect()
    if not found:
        raise DataError(f"{uri}: must hold rows, it is empty")
    return [row["path"] for row in found]


def _is_parquet(spark: SparkSession, file: str) -> bool:
    """Tell whether a file begins as Parquet does."""
    sc: Any = spark.sparkContext
    path = sc._jvm.org.apache.hadoop.fs.Path(file)
    stream = path.getFileSystem(sc._jsc.hadoopConfiguration()).open(path)
    try:
        return [stream.read() for _ in range(4)] == list(b"PAR1")
    finally:
        stream.close()


def _read_csv(spark: SparkSession, uri: str, features: list[str]) -> DataFrame:
    names = spark.read.option("header", True).csv(uri).columns
    kinds = [f"`{name}` {'double' if name in features else 'string'}" for name in names]
    # Spark takes text in place of a number for a missing value, but keeps such a line.
    reader = spark.read.options(
        header=True, enforceSchema=False, columnNameOfCorruptRecord=MISFIT_LINE
    )
    return reader.schema(", ".join([*kinds, f"`{MISFIT_LINE}` string"])).csv(uri)


def _footers(files: list[str]) -> dict[str, pa.parquet.FileMetaData]:
    """Read the footers of Parquet files in folders; none if some are in object storage.

    Raises:
        DataError: a file is cut short, or no Parquet.
    """
    if not all(file.startswith(LOCAL) for file in files):
        return {}
    footers = {}
    for file in sorted(file.removeprefix(LOCAL) for file in files):
        try:
            footers[file] = pa.parquet.read_metadata(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{file}: cannot be read: {error}") from error
    return footers


def _ranges(table: DataFrame, footers: dict[str, pa.parquet.FileMetaData]) -> list[RowRange] | None:
    """Divide Parquet files in folders into parts.

    None where Spark alone knows how to read the table: if it is CSV, or in object storage, or if
    columns are not all the same, or not those that Spark sees (it takes some from the names of
    folders).
    """
    if not footers:
        return None
    first, *others = (
        footer.schema.to_arrow_schema().remove_metadata() for footer in footers.values()
    )
    if first.names != table.columns or any(other != first for other in others):
        return None
    return ranges_of_files(footers)


def ranges_of_files(footers: dict[str, pa.parquet.FileMetaData]) -> list[RowRange]:
    """Divide Parquet files, by name, into parts; none of them goes across row groups."""
    groups = []
    for file, metadata in footers.items():
        start = 0
        for number in range(metadata.num_row_groups):
            groups.append(RowRange(file, start, metadata.row_group(number).num_rows))
            start += groups[-1].rows
    groups = [group for group in groups if group.rows]
    most = -(-FEWEST_PARTS // max(len(groups), 1))
    return [part for group in groups for part in _divided(group, most)]


def _divided(group: RowRange, most: int) -> list[RowRange]:
    parts = max(min(group.rows // FEWEST_ROWS, most), 1)
    bounds = np.linspace(group.first, group.first + group.rows, parts + 1).astype(int).tolist()
    return [RowRange(group.file, first, end - first) for first, end in pairwise(bounds)]
