"""Training, validation and test split of a table, as files in a folder."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from serving.model.features import ENTITY_ID, Feature
from steps.data.feature_statistics import feature_statistics
from steps.data.row_keys import RowKeys
from steps.data.split_files import EXTRA_FILES, WrittenSplits, write_tables
from steps.evaluation.parquet_columns import ParquetColumns
from steps.runtime.progress import timed

DESCRIPTION_FILE = "splits.json"
FORMAT_VERSION = 2
STATISTICS_KEY = "reference"  # the name of the feature statistics in the file
# Splits of more values are read in batches of at most as many, and not kept in memory: 64 MB.
VALUES_AT_ONCE = 8_000_000
# Digests of the bytes of the files, as earlier releases computed them.
FILE_DIGESTS = "file"
VALUE_DIGESTS = "values"


@dataclass(frozen=True)
class SplitsDescription:
    """Facts about splits that are known without reading their rows.

    Attributes:
        source: the parameter `data`.
        target: the name of the target column.
        time_column: the parameter `time_column`; the table may have no such column.
        split: "temporal" or "stratified".
        duplicates: the number of duplicate rows that were dropped.
        rows: the number of rows of each split.
        positives: the number of rows of class 1 in each split.
        digests: of the values of each split in the order of its rows.
        latest: the last time of each split, as text; empty without a time column.
        features: the arguments of a `Feature` for each input column.
        feature_statistics: of the training split (see `steps.data.feature_statistics`).
        digest_kind: "values", or "file" for digests of the bytes of files, of earlier releases.
        equal_rows: "drop" if equal rows were one record, "keep" if they were independent.
        positive_rates: the shares of class 1 before and after duplicate rows were dropped.
        repeated_in_test: the share of test rows whose features also occur in training; None if
            equal rows were dropped.
        extras: which of `id` and `row_key` accompany the splits.
        version: of the format of the file; 1 in earlier releases.
        classes: the values of the target that are class 0 and class 1, as text.
        positive_because: the reason why the latter is class 1.
        id_column: the parameter `id_column`; the table may have no such column.
        columns: name, kind, share of missing values, number of levels, use and AUC of each column
            of the table (see `steps.loading.column_table`).
        leakage_suspects: the AUC in the training rows of each feature that alone nearly gives the
            target away.
    """

    source: str
    target: str
    time_column: str
    split: str
    duplicates: int
    rows: dict[str, int]
    positives: dict[str, int]
    digests: dict[str, str]
    latest: dict[str, str]
    features: list[dict[str, Any]]
    feature_statistics: dict[str, Any]
    digest_kind: str = FILE_DIGESTS
    equal_rows: str = "drop"
    positive_rates: list[float] = field(default_factory=list)
    repeated_in_test: float | None = None
    extras: list[str] = field(default_factory=list)
    version: int = 1
    classes: list[str] = field(default_factory=lambda: ["0", "1"])
    positive_because: str = ""
    id_column: str = ENTITY_ID
    columns: list[dict[str, Any]] = field(default_factory=list)
    leakage_suspects: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, written: WrittenSplits, features: list[Feature] | None = None, **facts: Any
    ) -> Self:
        """Describe splits that were written.

        Args:
            written: what is known of them.
            features: the features that are used; None for all that were written.
            facts: the other attributes.
        """
        used = written.features if features is None else features
        return cls(
            rows=written.rows,
            positives=written.positives,
            digests=written.digests,
            latest=written.latest,
            features=[asdict(feature) for feature in used],
            feature_statistics=feature_statistics(written.splits["training"].file),
            digest_kind=VALUE_DIGESTS,
            extras=written.extras,
            version=FORMAT_VERSION,
            **facts,
        )

    def write(self, folder: Path) -> None:
        """Write the description into `folder`."""
        content = asdict(self)
        content[STATISTICS_KEY] = content.pop("feature_statistics")
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a description from `file`."""
        content = json.loads(file.read_text())
        return cls(feature_statistics=content.pop(STATISTICS_KEY), **content)


@dataclass(frozen=True)
class Split:
    """One split of a table, in a Parquet file that is read on first use.

    Attributes:
        name: "training", "validation", "test", or a name of rows made from them.
        file: the Parquet file of the rows.
        features: the names of the feature columns.
        target: the name of the target column.
        has_missing: whether any split of the table has missing values in its features.
        in_memory: the rows, features and target, if they need not be read.
    """

    name: str
    file: Path
    features: list[str]
    target: str
    has_missing: bool = False
    in_memory: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.y)

    def read(self) -> pd.DataFrame:
        """Return features and target, shape (n_rows, n_features + 1), without keeping them."""
        if self.in_memory is not None:
            return self.in_memory
        with timed("data"):
            return pd.read_parquet(self.file)[[*self.features, self.target]]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Features and target, shape (n_rows, n_features + 1), kept in memory."""
        return self.read()

    @property
    def X(self) -> pd.DataFrame:
        """The features, shape (n_rows, n_features), kept in memory."""
        return self.frame[self.features]

    def batches(self) -> Iterator[pd.DataFrame]:
        """Yield features and target of the rows in order, at most 8,000,000 values at a time.

        A split that is not larger is kept in memory.
        """
        if self._is_small:
            yield self.frame
        else:
            yield from (table.to_pandas() for table in self.tables())

    def head(self, count: int) -> pd.DataFrame:
        """Return features and target of the first rows."""
        if self._is_small:
            return self.frame.head(count)
        return next(self.tables(count)).to_pandas()

    def take(self, places: npt.NDArray[np.int64]) -> pd.DataFrame:
        """Return features and target of the rows with these numbers, in the order of `places`."""
        if self._is_small:
            return self.frame.iloc[places].reset_index(drop=True)
        wanted, order = np.unique(places, return_inverse=True)
        found, start = [], 0
        for batch in self.batches():
            first, last = np.searchsorted(wanted, [start, start + len(batch)])
            found.append(batch.iloc[wanted[first:last] - start])
            start += len(batch)
        return pd.concat(found).iloc[order].reset_index(drop=True)

    def column(self, name: str) -> "pd.Series[Any]":
        """Return the values of a feature or of the target, shape (n_rows,), read alone."""
        if self.in_memory is not None:
            return self.in_memory[name]
        return self.columns[name].to_pandas()

    @cached_property
    def columns(self) -> ParquetColumns:
        """The columns of the file, each read when it is asked for."""
        return ParquetColumns(self.file)

    def tables(self, rows_at_once: int | None = None) -> Iterator[pa.Table]:
        """Yield features and target of the rows in order as Arrow tables.

        Args:
            rows_at_once: the number of rows in each but the last; None for 8,000,000 values.
        """
        names = [*self.features, self.target]
        if self.in_memory is not None:
            yield pa.Table.from_pandas(self.in_memory[names], preserve_index=False)
            return
        with pa.parquet.ParquetFile(self.file) as file:
            for batch in file.iter_batches(rows_at_once or self._rows_at_once):
                yield pa.Table.from_batches([batch]).select(names)

    def subset(self, prefix: str, places: npt.NDArray[np.int64]) -> Self:
        """Return some rows, in their order, as a split with a file of its own.

        Args:
            prefix: of the name of the file.
            places: the numbers of the rows.
        """
        chosen = np.zeros(len(self), bool)
        chosen[places] = True
        file = self.file.with_name(f"{prefix}_{self.file.name}")
        with timed("data"):
            write_tables(_filtered(self.tables(), chosen), file)
        return replace(self, file=file, in_memory=None)

    @property
    def _rows_at_once(self) -> int:
        return max(VALUES_AT_ONCE // (len(self.features) + 1), 1)

    @property
    def _is_small(self) -> bool:
        return self.in_memory is not None or len(self) <= self._rows_at_once

    @cached_property
    def y(self) -> npt.NDArray[np.int64]:
        """The target, 0 or 1, shape (n_rows,)."""
        if self.in_memory is not None:
            return self.in_memory[self.target].to_numpy()
        return self.columns[self.target].to_numpy()


class Splits:
    """The splits of a table in a folder, each read on first use; see `SplitWriter`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.description = SplitsDescription.read(self._file(DESCRIPTION_FILE))

    @property
    def target(self) -> str:
        """The name of the target column."""
        return self.description.target

    @property
    def features(self) -> list[Feature]:
        """The input columns, in the order of the files."""
        return [Feature.from_dict(feature) for feature in self.description.features]

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [feature.name for feature in self.features]

    @property
    def has_missing(self) -> bool:
        """Whether any split has missing values in its features."""
        return any(feature.nullable for feature in self.features)

    @cached_property
    def training(self) -> Split:
        """The rows to fit candidates on."""
        return self._read("training")

    @cached_property
    def validation(self) -> Split:
        """The rows to compare candidates on."""
        return self._read("validation")

    @cached_property
    def test(self) -> Split:
        """The held-out rows, for the champion and the incumbent only."""
        return self._read("test")

    @property
    def times(self) -> pa.Array | None:
        """The times of the rows of all splits in order; None without a time column."""
        if not any(self.description.latest.values()):
            return None
        return ParquetColumns(self._file(EXTRA_FILES["time"]))[self.description.time_column]

    def all_rows(self) -> pd.DataFrame:
        """Return the rows of all splits in order, with their times and ids if there are any."""
        splits = (self.training, self.validation, self.test)
        frame = pd.concat([split.read() for split in splits], ignore_index=True)
        extras = [extra for extra in (self._times, self._extra("id")) if extra is not None]
        return pd.concat([*extras, frame], axis=1)

    @property
    def has_ids(self) -> bool:
        """Whether the table has the callers' keys of its rows."""
        return "id" in self.description.extras

    def times_of(self, split: Split) -> "pd.Series[Any] | None":
        """Return the times of the rows of `split`; None if the table has no time column."""
        return self._rows_of(split, self._times)

    def ids_of(self, split: Split) -> "pd.Series[Any] | None":
        """Return the callers' keys of the rows of `split`; None if the table has none."""
        return self._rows_of(split, self._extra("id"))

    def row_keys_of(self, split: Split) -> RowKeys | None:
        """Return the keys of the rows of `split`; None if their values identify them."""
        keys = self._rows_of(split, self._extra("row_key"))
        return None if keys is None else keys.to_numpy(np.uint64)

    def all_row_keys(self) -> RowKeys | None:
        """Return the keys of the rows of all splits in order, None as in `row_keys_of`."""
        keys = self._extra("row_key")
        return None if keys is None else keys["row_key"].to_numpy(np.uint64)

    def optional_file(self, name: str) -> Path | None:
        """Return a file that only some splits have; None if these have none."""
        file = self._folder / name
        return file if file.is_file() else None

    @cached_property
    def training_and_validation(self) -> Split:
        """The rows to refit a winner on, as one split with a file of its own."""
        file = self._folder / "refit.parquet"
        with timed("data"):
            write_tables(_joined([self.training, self.validation]), file)
        return replace(self.training, name="training and validation", file=file)

    @cached_property
    def _times(self) -> pd.DataFrame | None:
        if not any(self.description.latest.values()):
            return None
        return pd.read_parquet(self._file(EXTRA_FILES["time"]))

    def _extra(self, name: str) -> pd.DataFrame | None:
        if name not in self.description.extras:
            return None
        return pd.read_parquet(self._file(EXTRA_FILES[name]))

    def _rows_of(self, split: Split, rows: pd.DataFrame | None) -> "pd.Series[Any] | None":
        """Return those of the rows of all splits that belong to `split`."""
        if rows is None:
            return None
        names = list(self.description.rows)
        first = sum(self.description.rows[name] for name in names[: names.index(split.name)])
        return rows.iloc[first : first + len(split), 0].reset_index(drop=True)

    def _read(self, name: str) -> Split:
        with timed("data"):
            file = self._file(f"{name}.parquet")
        return Split(name, file, self.names, self.target, self.has_missing)

    def _file(self, name: str) -> Path:
        return self._folder / name


def _joined(splits: Sequence[Split]) -> Iterator[pa.Table]:
    """Yield the rows of splits in order, with the same types.

    pandas, in earlier releases, wrote a column without values with a type of its own.
    """
    names = [*splits[0].features, splits[0].target]
    schemas = [pa.parquet.read_schema(split.file) for split in splits]
    common = pa.unify_schemas(
        [pa.schema([schema.field(name) for name in names], schema.metadata) for schema in schemas]
    )
    for split in splits:
        yield from (table.cast(common) for table in split.tables())


def _filtered(tables: Iterator[pa.Table], chosen: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Yield the chosen rows of tables."""
    start = 0
    for table in tables:
        yield table.filter(pa.array(chosen[start : start + len(table)]))
        start += len(table)
