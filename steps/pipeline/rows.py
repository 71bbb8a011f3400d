"""Which rows a champion has seen, kept with its version: those are no test of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from pandas.api.types import is_datetime64_any_dtype

from steps.pipeline.evaluation import Labels
from steps.pipeline.splits import Splits

Hashes = npt.NDArray[np.uint64]


def row_hashes(frame: pd.DataFrame) -> Hashes:
    """Return a hash of each row's values, shape (n_rows,), whatever the order of the columns.

    A hash has 64 bits: that any of 2 million new rows is taken for one of 10 million seen ones
    has a chance of one in a million.
    """
    ordered = frame[sorted(frame.columns)]
    return pd.util.hash_pandas_object(ordered, index=False).to_numpy(np.uint64)


def record_hashes(X: pd.DataFrame, y: Labels, times: "pd.Series[Any] | None") -> Hashes:
    """Return a hash of each record, shape (n_rows,), however its table names target and time.

    Equal rows of another time are other records: in the card data 8,063 rows repeat another in
    all but that.

    Args:
        X: the features, shape (n_rows, n_features).
        y: the target, shape (n_rows,).
        times: when the rows were, if that is known.
    """
    record = X.assign(**{" target": y})  # no feature has a blank in its name
    if times is not None:
        record[" time"] = _as_numbers(times)
    return row_hashes(record)


def _as_numbers(times: "pd.Series[Any]") -> npt.NDArray[Any]:
    if is_datetime64_any_dtype(times):
        moments = pd.to_datetime(times, utc=True).dt.tz_localize(None)
        return moments.to_numpy("datetime64[ns]").astype(np.int64)
    return times.to_numpy(np.float64)


@dataclass(frozen=True)
class Seen:
    """The rows that took part in fitting and choosing a model.

    Attributes:
        hashes: of the records, sorted, each once.
        rows: how many it was fitted on; validation rows only choose, unless it was refitted.
        until: the latest time among those, as text that says its kind; empty without time.
    """

    hashes: Hashes
    rows: int
    until: str

    @classmethod
    def of(cls, splits: Splits, refitted: bool) -> Self:
        """Describe what a model has seen that was fitted on training rows, or on both parts."""
        training, validation = splits.training, splits.validation
        hashes = [
            record_hashes(part.X, part.y, splits.times_of(part)) for part in (training, validation)
        ]
        latest = splits.description.latest
        if not refitted:
            return cls(np.unique(np.concatenate(hashes)), len(hashes[0]), latest[training.name])
        first, second = (latest[part.name] for part in (training, validation))
        until = first if newer(first, second) else second
        return cls(np.unique(np.concatenate(hashes)), sum(map(len, hashes)), until)

    def write(self, file: Path) -> None:
        """Write it to `file`."""
        table = pa.table({"hash": self.hashes})
        notes = {"rows": str(self.rows), "until": self.until}
        pa.parquet.write_table(table.replace_schema_metadata(notes), file)

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """Read what `write` wrote; None if there is none."""
        if not file.is_file():
            return None
        table = pa.parquet.read_table(file)
        notes = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
        return cls(table["hash"].to_numpy(), int(notes["rows"]), notes["until"])

    def advance_over(self, other: Self | None) -> str:
        """Return in words what these rows have over `other`: newer or more; empty if nothing."""
        if other is None:
            return ""
        if newer(self.until, other.until):
            return f"it was fitted on newer rows (until {self.until}, not {other.until})"
        if self.rows > other.rows:
            return f"it was fitted on more rows ({self.rows:,}, not {other.rows:,})"
        return ""


def newer(time: str, other: str) -> bool:
    """Tell whether `time` is later than `other`; two kinds of time cannot be compared.

    A time is a number, or a timestamp in ISO 8601.
    """
    if not time or not other:
        return False
    try:
        return float(time) > float(other)
    except ValueError:
        try:
            return pd.Timestamp(time) > pd.Timestamp(other)
        except (ValueError, TypeError):  # a number against a timestamp, or with and without zone
            return False
