"""Fingerprints of the rows that a model has seen, which therefore cannot test it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from pandas.api.types import is_datetime64_any_dtype

from steps.data.splits import Split, Splits
from steps.evaluation.metrics import Labels

Hashes = npt.NDArray[np.uint64]
Form = Callable[["pd.Series[Any]"], "pd.Series[Any]"]
FLAGS = ("has_ids", "has_keys")
# 2 MB.
HASHES_AT_ONCE = 2**18


def row_hashes(frame: pd.DataFrame) -> Hashes:
    """Return a hash of the values of each row, in any order of the columns, shape (n_rows,).

    With 64 bits, the probability that any of 2 million new rows collides with one of 10 million
    seen rows is one in a million.
    """
    return _hashes((frame[name] for name in sorted(frame.columns)), frame.shape[1])


def _hashes(columns: "Iterable[pd.Series[Any]]", count: int) -> Hashes:
    """Return the hashes of pandas' `hash_pandas_object`, which needs all columns at once.

    Args:
        columns: the columns, each of shape (n_rows,).
        count: the number of columns.
    """
    hashes: Hashes | None = None
    multiplier = 1_000_003
    for place, column in enumerate(columns):
        of_column = pd.util.hash_array(column.values)
        if hashes is None:
            hashes = np.full(len(of_column), 0x345678, np.uint64)
        hashes ^= of_column
        hashes *= np.uint64(multiplier)
        multiplier += 82_520 + 2 * (count - place)
    assert hashes is not None
    hashes += np.uint64(97_531)
    return hashes


def _are_in(hashes: Hashes, parts: Iterable[Hashes]) -> npt.NDArray[np.bool_]:
    """Return which hashes are in any of the `parts`, each sorted and all in ascending order.

    NumPy's `isin` would need all at once, and sort them.
    """
    order = np.argsort(hashes)  # of neighbours, the search finds what it reads in the cache
    ascending = hashes[order]
    are_in = np.zeros(len(hashes), bool)
    for part in parts:
        if not len(part):
            continue
        first = np.searchsorted(ascending, part[0], "left")
        end = np.searchsorted(ascending, part[-1], "right")
        wanted = ascending[first:end]
        are_in[first:end] |= part[np.searchsorted(part, wanted)] == wanted
    found = np.empty(len(hashes), bool)
    found[order] = are_in
    return found


@dataclass(frozen=True)
class StoredHashes:
    """The sorted hashes of a Parquet file, read in parts: no more than one is in memory."""

    file: Path

    def __iter__(self) -> Iterator[Hashes]:
        """Yield the hashes in parts."""
        with pa.parquet.ParquetFile(self.file) as source:
            for batch in source.iter_batches(HASHES_AT_ONCE, columns=["hash"]):
                yield batch["hash"].to_numpy()


def record_hashes(
    names: Iterable[str],
    column: "Callable[[str], pd.Series[Any]]",
    y: Labels,
    times: "pd.Series[Any] | None",
    ids: "pd.Series[Any] | None" = None,
) -> Hashes:
    """Return a hash of each record, independent of the names of target and time column.

    Equal rows at different times are different records: in the credit card data, 8,063 rows
    differ from another in time only.

    Args:
        names: the names of the features.
        column: returns the values of a feature, shape (n_rows,).
        y: the target, shape (n_rows,).
        times: the times of the rows, shape (n_rows,), or None.
        ids: the callers' keys of the rows, shape (n_rows,), or None.

    Returns:
        Hashes, shape (n_rows,).
    """
    record: list[pd.Series[Any]] = [] if ids is None else [ids.astype(object)]
    record.append(pd.Series(y, dtype=np.int64))
    if times is not None:
        record.append(pd.Series(_as_numbers(times)))
    names = sorted(names)
    return _hashes(chain(record, map(column, names)), len(record) + len(names))


def _hashes_of(
    splits: Splits,
    split: Split,
    features: Iterable[str],
    times: "pd.Series[Any] | None",
    ids: "pd.Series[Any] | None",
    form: Form,
) -> Hashes:
    """Return the hashes of the records of a split, with its booleans in `form`."""
    booleans = {feature.name for feature in splits.features if feature.kind == "boolean"}

    def column(name: str) -> "pd.Series[Any]":
        values = split.column(name)
        return form(values) if name in booleans else values

    return record_hashes(features, column, split.y, times, ids)


def _as_objects(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return booleans as pandas reads them if some are missing; it hashes others differently."""
    return column.astype(object)


def _as_booleans(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return booleans as earlier releases hashed those of a split without missing ones."""
    return column.eq(True).astype(bool)


def _as_numbers(times: "pd.Series[Any]") -> npt.NDArray[Any]:
    if is_datetime64_any_dtype(times):
        naive = pd.to_datetime(times, utc=True).dt.tz_localize(None)
        return naive.to_numpy("datetime64[ns]").astype(np.int64)
    return times.to_numpy(np.float64)


@dataclass(frozen=True)
class RowFingerprints:
    """The rows that a model was fitted and selected on.

    Attributes:
        hashes: unique hashes of all these records, sorted, in memory or in a file; and the keys
            of the rows, if values cannot identify them.
        rows: the number of rows that the model was fitted on. Validation rows count only if it
            was refitted.
        until: the latest time of those rows, a number or an ISO 8601 timestamp as text; empty
            without a time column.
        has_ids: whether the callers' keys are part of the records.
        has_keys: whether `hashes` contains the keys of the rows.
    """

    hashes: Hashes | StoredHashes
    rows: int
    until: str
    has_ids: bool = False
    has_keys: bool = False

    @classmethod
    def of(cls, splits: Splits, refitted: bool) -> Self:
        """Return the fingerprints of a model.

        Args:
            splits: the splits that it was fitted and selected on.
            refitted: True if it was fitted on training and validation rows, False if on
                training rows only.
        """
        used = (splits.training, splits.validation)
        fitted = used if refitted else used[:1]
        latest = splits.description.latest
        until = latest[splits.training.name]
        if refitted and not newer(until, latest[splits.validation.name]):
            until = latest[splits.validation.name]
        hashes = [
            _hashes_of(
                splits,
                split,
                split.features,
                splits.times_of(split),
                splits.ids_of(split),
                _as_objects,
            )
            for split in used
        ]
        keys = [keys for split in used if (keys := splits.row_keys_of(split)) is not None]
        return cls(
            np.unique(np.concatenate([*hashes, *keys])),
            sum(len(split) for split in fitted),
            until,
            has_ids=splits.ids_of(splits.training) is not None,
            has_keys=bool(keys),
        )

    def unseen(self, splits: Splits, split: Split, features: list[str]) -> npt.NDArray[np.bool_]:
        """Return which rows of a split are not among these, shape (n_rows,).

        Without a time or an id in the record, equal values are no evidence that a row is the
        same. Then it is recognised by its table and its number in it.

        Args:
            splits: the splits, of the same table or another.
            split: one of them.
            features: the features that these rows were fingerprinted with.
        """
        keys = splits.row_keys_of(split) if self.has_keys else None
        if keys is not None:
            return ~_are_in(keys, self._parts)
        times = splits.times_of(split) if self.until else None
        ids = splits.ids_of(split) if self.has_ids else None
        forms = [_as_objects]
        if any(feature.kind == "boolean" for feature in splits.features):
            forms.append(_as_booleans)
        seen = np.zeros(len(split), bool)
        for form in forms:
            hashes = _hashes_of(splits, split, features, times, ids, form)
            seen |= _are_in(hashes, self._parts)
        return ~seen

    @property
    def _parts(self) -> Iterable[Hashes]:
        return self.hashes if isinstance(self.hashes, StoredHashes) else [self.hashes]

    def write(self, file: Path) -> None:
        """Write the fingerprints to a Parquet `file`."""
        metadata = {"rows": str(self.rows), "until": self.until}
        metadata |= {name: "true" for name in FLAGS if getattr(self, name)}
        schema = pa.schema([("hash", pa.uint64())], metadata)
        with pa.parquet.ParquetWriter(file, schema) as writer:
            for part in self._parts:
                writer.write_table(pa.table([part], schema), HASHES_AT_ONCE)

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Return the fingerprints of `file`, which keeps the hashes; None if it does not exist."""
        if not file.is_file():
            return None
        found = pa.parquet.read_schema(file).metadata
        metadata = {key.decode(): text.decode() for key, text in found.items()}
        flags = {name: name in metadata for name in FLAGS}
        return cls(StoredHashes(file), int(metadata["rows"]), metadata["until"], **flags)

    def advance_over(self, other: Self | None) -> str:
        """Return why these rows are newer or more than those of `other`; empty if they are not."""
        if other is None:
            return ""
        if newer(self.until, other.until):
            return f"it was fitted on newer rows (until {self.until}, not {other.until})"
        if self.rows > other.rows:
            return f"it was fitted on more rows ({self.rows:,}, not {other.rows:,})"
        return ""


def newer(time: str, other: str) -> bool:
    """Return whether `time` is later than `other`; False if they are not comparable.

    Args:
        time: a number or a timestamp in ISO 8601; empty if unknown.
        other: the same.
    """
    if not time or not other:
        return False
    try:
        return float(time) > float(other)
    except ValueError:
        try:
            return pd.Timestamp(time) > pd.Timestamp(other)
        except (ValueError, TypeError):  # a number and a timestamp, or with and without time zone
            return False
