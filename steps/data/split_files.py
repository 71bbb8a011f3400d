"""Files of splits, written in pieces: the table need not fit into memory."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from serving.model.features import ENTITY_ID, Feature

# Small row groups let Spark divide the file, in the same way on every machine.
ROW_GROUP = 20_000
GROUPS_AT_ONCE = 5
SPLITS = ("training", "validation", "test")
# A value of each kind, as pandas holds columns that may lack values.
VALUES: dict[str, Any] = {
    "number": np.zeros(1),
    "boolean": np.array([True], object),
    "category": np.array(["a"], object),
    "date": np.zeros(1, "datetime64[us]"),
}
# The files that accompany the splits, with the rows of all of them in order.
EXTRA_FILES = {"time": "times.parquet", "id": "ids.parquet", "row_key": "rows.parquet"}


class ValueDigest:
    """A digest of the values of a table in the order of its rows, within MLflow's 36 characters.

    It does not depend on the file's format: missing values are one, and so are 0.0 and -0.0.
    """

    def __init__(self, names: list[str]) -> None:
        self._columns = {name: hashlib.sha256() for name in names}

    def update(self, table: pa.Table) -> None:
        """Add the next rows."""
        for name, digest in self._columns.items():
            digest.update(_comparable(table[name].combine_chunks()).data)

    def hexdigest(self) -> str:
        """Return the digest of all rows added so far."""
        whole = hashlib.sha256()
        for name, digest in self._columns.items():
            whole.update(f"{name}\0{digest.hexdigest()}\0".encode())
        return whole.hexdigest()[:32]


def _comparable(values: pa.Array) -> npt.NDArray[Any]:
    """Return numbers that are equal where values are."""
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode()
        texts = np.array(encoded.dictionary.to_pylist(), dtype=object)
        hashes = pd.util.hash_array(texts, categorize=False)
        codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        return np.append(hashes, np.uint64(0))[codes]
    if pa.types.is_temporal(values.type):
        # Not safe: microseconds are rounded before 1685 and after 2255.
        values = values.cast(pa.int64()).cast(pa.float64(), safe=False)
    array = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False) + 0.0
    return np.where(np.isnan(array), np.nan, array)


def digest_of_file(file: Path) -> str:
    """Return the digest of the values of a Parquet file."""
    source = pa.parquet.ParquetFile(file)
    digest = ValueDigest(source.schema_arrow.names)
    for batch in source.iter_batches(ROW_GROUP):
        digest.update(pa.Table.from_batches([batch]))
    return digest.hexdigest()


class RowGroups:
    """A buffer that releases rows in whole row groups."""

    def __init__(self) -> None:
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> pa.Table | None:
        """Add rows; return those to write now, None until enough are buffered."""
        self._waiting.append(table)
        if sum(map(len, self._waiting)) < GROUPS_AT_ONCE * ROW_GROUP:
            return None
        whole = pa.concat_tables(self._waiting)
        complete = len(whole) // ROW_GROUP * ROW_GROUP
        self._waiting = [whole.slice(complete)]
        return whole.slice(0, complete)

    def rest(self) -> pa.Table | None:
        """Return the rows that are still to be written; None if there are none."""
        rest = pa.concat_tables(self._waiting) if self._waiting else ()
        return rest if len(rest) else None


def write_tables(tables: Iterator[pa.Table], file: Path) -> None:
    """Write tables to `file` in the row groups of a split, with the schema of the first."""
    groups, first = RowGroups(), next(tables)
    with pa.parquet.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], tables):
            if (whole := groups.add(table.cast(first.schema))) is not None:
                writer.write_table(whole, row_group_size=ROW_GROUP)
        if (rest := groups.rest()) is not None:
            writer.write_table(rest, row_group_size=ROW_GROUP)


@dataclass
class SplitFile:
    """A Parquet file of features and target, the same as pandas would write from a whole frame.

    Attributes:
        file: the file.
        features: the features.
        target: the name of the target.
        rows: the number of rows.
        positives: the number of rows of class 1.
        missing: the number of missing values of each feature.
        latest: the latest time; None without a time column.
    """

    file: Path
    features: list[Feature]
    target: str
    rows: int = 0
    positives: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    latest: pa.Scalar | None = None

    def __post_init__(self) -> None:
        self._schema = parquet_schema(self.features, self.target)
        self._digest = ValueDigest(self._schema.names)
        self._writer = pa.parquet.ParquetWriter(self.file, self._schema)
        self._extras: pa.parquet.ParquetWriter | None = None
        self._groups = RowGroups()
        self.missing = dict.fromkeys((feature.name for feature in self.features), 0)

    @property
    def digest(self) -> str:
        """The digest of the values written so far."""
        return self._digest.hexdigest()

    @property
    def extras_file(self) -> Path:
        """The file with the columns beside features and target, removed in the end."""
        return self.file.with_suffix(".extras")

    def add(self, table: pa.Table) -> None:
        """Add rows: the features and the target, then times, ids and row keys, if any."""
        self._add_extras(table.select(table.column_names[len(self._schema) :]))
        table = table.select(range(len(self._schema))).rename_columns(self._schema.names)
        if (whole := self._groups.add(table)) is not None:
            self._write(whole)

    def close(self) -> None:
        """Write the last rows."""
        if (rest := self._groups.rest()) is not None:
            self._write(rest)
        self.abort()

    def abort(self) -> None:
        """Close the files as they are."""
        self._writer.close()
        if self._extras is not None:
            self._extras.close()

    def _write(self, table: pa.Table) -> None:
        table = table.combine_chunks().cast(self._schema)
        self._digest.update(table)
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self.rows += len(table)
        self.positives += pc.sum(table[self.target]).as_py()
        for name in self.missing:
            self.missing[name] += table[name].null_count

    def _add_extras(self, extras: pa.Table) -> None:
        if not extras.num_columns:
            return
        if "time" in extras.column_names and len(extras):
            latest = pc.max(extras["time"])
            if self.latest is None or pc.greater(latest, self.latest).as_py():
                self.latest = latest
        if self._extras is None:
            self._extras = pa.parquet.ParquetWriter(self.extras_file, extras.schema)
        self._extras.write_table(extras)


@dataclass(frozen=True)
class WrittenSplits:
    """What is known of three splits that were written.

    Attributes:
        splits: the file of each split.
        extras: which of `id` and `row_key` accompany them.
    """

    splits: dict[str, SplitFile]
    extras: list[str]

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {name: split.rows for name, split in self.splits.items()}

    @property
    def positives(self) -> dict[str, int]:
        """The number of rows of class 1 in each split."""
        return {name: split.positives for name, split in self.splits.items()}

    @property
    def digests(self) -> dict[str, str]:
        """The digest of the values of each split."""
        return {name: split.digest for name, split in self.splits.items()}

    @property
    def latest(self) -> dict[str, str]:
        """The latest time of each split, as text; empty without a time column."""
        return {name: _as_text(split.latest) for name, split in self.splits.items()}

    @property
    def features(self) -> list[Feature]:
        """The features; engines must cope with values that are missing in later splits only."""
        splits = list(self.splits.values())
        return [
            replace(feature, nullable=any(split.missing[feature.name] for split in splits))
            for feature in splits[0].features
        ]


class SplitWriter:
    """A writer of the three splits of a table into a folder."""

    def __init__(self, folder: Path, features: list[Feature], target: str) -> None:
        self._folder = folder
        self._splits = {
            name: SplitFile(folder / f"{name}.parquet", features, target) for name in SPLITS
        }

    def add(self, name: str, rows: pa.Table) -> None:
        """Add rows to the split `name`; see `SplitFile.add`."""
        if len(rows):
            self._splits[name].add(rows)

    def close(self, time_column: str, id_column: str = ENTITY_ID) -> WrittenSplits:
        """Write the last rows and the files of times, ids and row keys, under the users' names."""
        for split in self._splits.values():
            split.close()
        found = [split.extras_file for split in self._splits.values()]
        extras = [file for file in found if file.exists()]
        names_of = {"time": time_column, "id": id_column, "row_key": "row_key"}
        for name, file in EXTRA_FILES.items():
            if extras and name in pa.parquet.read_schema(extras[0]).names:
                _concatenate(extras, name, names_of[name], self._folder / file)
        for extra in extras:
            extra.unlink()
        names = [name for name, file in EXTRA_FILES.items() if (self._folder / file).exists()]
        return WrittenSplits(self._splits, [name for name in names if name != "time"])

    def abort(self) -> None:
        """Close the files as they are."""
        for split in self._splits.values():
            split.abort()


def parquet_schema(features: list[Feature], target: str) -> pa.Schema:
    """Return the schema that pandas gives to a file of features and target."""
    row = {feature.name: VALUES[feature.kind] for feature in features}
    frame = pd.DataFrame(row | {target: np.zeros(1, np.int64)})
    return pa.Schema.from_pandas(frame, preserve_index=False)


def _concatenate(files: list[Path], column: str, name: str, target: Path) -> None:
    """Write one column of several Parquet files to one, under another name."""
    field_ = pa.parquet.read_schema(files[0]).field(column).with_name(name)
    with pa.parquet.ParquetWriter(target, pa.schema([field_])) as writer:
        for file in files:
            for batch in pa.parquet.ParquetFile(file).iter_batches(columns=[column]):
                writer.write_batch(batch.rename_columns([name]))


def _as_text(time: pa.Scalar | None) -> str:
    """Return a time as pandas prints it."""
    return "" if time is None else str(pa.array([time.as_py()], time.type).to_pandas().iloc[0])
