"""Input tables of batch scoring and their division into parts."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from serving.batch.csv_range import CsvRange
from serving.batch.malformed_lines import MALFORMED_LINE
from serving.batch.part_scorer import PartScorer
from serving.batch.parts import OUTCOME, Outcome, RowRange
from serving.errors import one_line
from serving.model.features import Feature
from steps.runtime.errors import DataError

# Row groups are the parts. Fewer than MIN_PARTS are divided, as far as each part keeps
# MIN_PART_ROWS: rows before a part in its row group are read twice.
MIN_PARTS, MIN_PART_ROWS = 8, 65_536
# CSV is divided into at least four parts, and into parts of at most some 60,000 rows of 30 numbers.
MIN_CSV_PARTS, MAX_CSV_BYTES = 4, 32 * 2**20
# Spark decompresses files with these endings.
COMPRESSED = frozenset({".bz2", ".deflate", ".gz", ".lz4", ".snappy", ".zst"})
NUMERIC_TYPES = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
LOCAL_SCHEME = "file:"
# Types that the service accepts as `id`. pandas writes whole numbers with missing values as double.
ID_TYPES = re.compile(r"string|bigint|int|smallint|tinyint|double|decimal\(\d+,0\)")


@dataclass(frozen=True)
class BatchInput:
    """A table in Spark.

    Attributes:
        uri: the URI given by the user.
        table: the rows.
        ranges: the parts of local files, which workers read without Spark, twice as fast. None if
            the parts are Spark's partitions.
    """

    uri: str
    table: DataFrame
    ranges: Sequence[RowRange | CsvRange] | None

    @property
    def files(self) -> list[str]:
        """URI, size and modification time of each file."""
        sc: Any = self.table.sparkSession.sparkContext
        described = []
        for uri in sorted(self.table.inputFiles()):
            path = sc._jvm.org.apache.hadoop.fs.Path(sc._jvm.java.net.URI(uri))
            status = path.getFileSystem(sc._jsc.hadoopConfiguration()).getFileStatus(path)
            described.append(f"{uri} {status.getLen()} {status.getModificationTime()}")
        return described

    @property
    def parts(self) -> int:
        """Number of parts; always the same for the same files."""
        if self.ranges is not None:
            return len(self.ranges)
        return self.table.rdd.getNumPartitions()

    def check_ids(self, id_column: str) -> None:
        """Check that the prediction log can store the type of the id column, if present.

        Raises:
            DataError: the log cannot store it.
        """
        type_ = dict(self.table.dtypes).get(id_column, "string")
        if not ID_TYPES.fullmatch(type_):
            raise DataError(
                f"{self.uri}: column {id_column}: must be text or whole numbers to be logged, "
                f"not {type_}"
            )

    def score(self, scorer: PartScorer) -> list[Outcome]:
        """Score each part and return its outcome."""
        if self.ranges is not None:
            sc = self.table.sparkSession.sparkContext
            parts = sc.parallelize(self.ranges, max(len(self.ranges), 1))
            return parts.mapPartitions(scorer.score_ranges).collect()
        # Spark cannot pass on names with dots.
        table = self.table.toDF(*(f"c{place}" for place in range(len(self.table.columns))))
        rows = table.mapInArrow(scorer.score_partition, OUTCOME).collect()
        return [Outcome(*row) for row in rows]


def read_input(spark: SparkSession, uri: str, features: Sequence[Feature]) -> BatchInput:
    """Open the table at `uri` and check its columns; columns of CSV but plain numbers are text.

    Raises:
        DataError: the table cannot be read or is empty, a feature is missing, or a number is not
            numeric.
    """
    try:
        files = _files(spark, uri)
        is_parquet = _is_parquet(spark, files[0])
        footers = _footers(files) if is_parquet else {}
        table = spark.read.parquet(uri) if is_parquet else _read_csv(spark, uri, features)
    except AnalysisException as error:
        reason = "no such file" if "PATH_NOT_FOUND" in str(error) else one_line(error)
        raise DataError(f"{uri}: cannot be read: {reason}") from error
    _check_columns(uri, dict(table.dtypes), features)
    ranges = _ranges(table, footers) if is_parquet else _csv_ranges(table, files, features)
    return BatchInput(uri, table, ranges)


def _check_columns(uri: str, types: dict[str, str], features: Sequence[Feature]) -> None:
    for feature in features:
        name = feature.name
        if name not in types:
            raise DataError(f"{uri}: column {name}: missing; the champion needs this feature")
        if feature.is_plain and not types[name].startswith(NUMERIC_TYPES):
            raise DataError(f"{uri}: column {name}: must be numeric, not {types[name]}")


def _files(spark: SparkSession, uri: str) -> list[str]:
    """Return the paths of the files at `uri`, a large file first."""
    found = spark.read.format("binaryFile").load(uri).select("path").collect()
    if not found:
        raise DataError(f"{uri}: must not be empty")
    return [row["path"] for row in found]


def _local_paths(files: Sequence[str]) -> list[str]:
    """Return the paths of local files in order; none if any file is remote."""
    if not all(file.startswith(LOCAL_SCHEME) for file in files):
        return []
    return sorted(file.removeprefix(LOCAL_SCHEME) for file in files)


def _is_parquet(spark: SparkSession, file: str) -> bool:
    """Return True if a file starts with Parquet's magic number."""
    sc: Any = spark.sparkContext
    path = sc._jvm.org.apache.hadoop.fs.Path(file)
    stream = path.getFileSystem(sc._jsc.hadoopConfiguration()).open(path)
    try:
        return [stream.read() for _ in range(4)] == list(b"PAR1")
    finally:
        stream.close()


def _read_csv(spark: SparkSession, uri: str, features: Sequence[Feature]) -> DataFrame:
    names = spark.read.options(header=True, escape='"').csv(uri).columns
    numbers = {feature.name for feature in features if feature.is_plain}
    columns = [f"{_quoted(name)} {'double' if name in numbers else 'string'}" for name in names]
    # Spark reads text in a numeric column as missing, but keeps the line in this column.
    reader = spark.read.options(
        header=True,
        enforceSchema=False,
        escape='"',  # a quote within quotes is doubled, as everywhere but in Spark
        columnNameOfCorruptRecord=MALFORMED_LINE,
    )
    return reader.schema(", ".join([*columns, f"`{MALFORMED_LINE}` string"])).csv(uri)


def _quoted(name: str) -> str:
    """Return a column's name as it stands in a schema of Spark."""
    return "`{}`".format(name.replace("`", "``"))


def _footers(files: list[str]) -> dict[str, pa.parquet.FileMetaData]:
    """Read the footers of local Parquet files, by path; return none if any file is remote.

    Raises:
        DataError: a file is truncated or not Parquet.
    """
    footers = {}
    for file in _local_paths(files):
        try:
            footers[file] = pa.parquet.read_metadata(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{file}: cannot be read: {error}") from error
    return footers


def _ranges(table: DataFrame, footers: dict[str, pa.parquet.FileMetaData]) -> list[RowRange] | None:
    """Divide local Parquet files into parts.

    Returns:
        The parts, or None if only Spark can read the table: remote files, files with different
        columns, or partition columns taken from folder names.
    """
    if not footers:
        return None
    first, *others = (
        footer.schema.to_arrow_schema().remove_metadata() for footer in footers.values()
    )
    if first.names != table.columns or any(other != first for other in others):
        return None
    return ranges_of_files(footers)


def _csv_ranges(
    table: DataFrame, files: Sequence[str], features: Sequence[Feature]
) -> list[CsvRange] | None:
    """Divide local CSV files into parts.

    Returns:
        The parts, or None if only Spark can read the table: remote or compressed files, files
        whose lines end with a bare carriage return, files with other headers than the table, or
        partition columns taken from folder names.
    """
    paths = list(map(Path, _local_paths(files)))
    names = tuple(name for name in table.columns if name != MALFORMED_LINE)
    if not paths or any(path.suffix in COMPRESSED or _header(path) != names for path in paths):
        return None
    numbers = tuple(feature.name for feature in features if feature.is_plain)
    sizes = [path.stat().st_size for path in paths]
    length = max(min(-(-sum(sizes) // MIN_CSV_PARTS), MAX_CSV_BYTES), 1)
    return [
        CsvRange(str(path), start, min(length, size - start), names, numbers)
        for path, size in zip(paths, sizes, strict=True)
        for start in range(0, size, length)
    ]


def _header(file: Path) -> tuple[str, ...]:
    """Return the names in the header of a CSV file; none if only Spark can read it.

    That is a file that is not in UTF-8, or whose lines end with a bare carriage return.
    """
    with file.open("rb") as lines:
        try:
            return tuple(next(csv.reader([lines.readline().decode("utf-8-sig")]), ()))
        except (UnicodeDecodeError, csv.Error):
            return ()


def ranges_of_files(footers: dict[str, pa.parquet.FileMetaData]) -> list[RowRange]:
    """Divide Parquet files, given their footers by path, into parts within row groups."""
    groups = []
    for file, metadata in footers.items():
        start = 0
        for number in range(metadata.num_row_groups):
            groups.append(RowRange(file, start, metadata.row_group(number).num_rows))
            start += groups[-1].rows
    groups = [group for group in groups if group.rows]
    max_parts = -(-MIN_PARTS // max(len(groups), 1))
    return [part for group in groups for part in _divided(group, max_parts)]


def _divided(group: RowRange, max_parts: int) -> list[RowRange]:
    parts = max(min(group.rows // MIN_PART_ROWS, max_parts), 1)
    bounds = np.linspace(group.first, group.first + group.rows, parts + 1).astype(int).tolist()
    return [RowRange(group.file, first, end - first) for first, end in pairwise(bounds)]
