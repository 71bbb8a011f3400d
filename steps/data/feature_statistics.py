"""Statistics of the training rows, stored in the manifest of each scorer."""

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute

from serving.model.preparation import MICROSECONDS
from steps.evaluation.parquet_columns import ParquetColumns


def feature_statistics(training: Path) -> dict[str, Any]:
    """Return the extreme quantiles of each number and date, its minimum and maximum.

    Those of dates are seconds since 1970; champions of earlier releases have none.

    Manifests of earlier releases hold 21 quantiles, of which only these two were used.

    Args:
        training: a Parquet file of features and, as the last column, the target.
    """
    columns = ParquetColumns(training)
    *features, _ = columns.names
    extremes = {name: _extremes(columns[name]) for name in features}
    return {"columns": {name: {"quantiles": ends} for name, ends in extremes.items() if ends}}


def _extremes(column: pyarrow.Array) -> list[float | None]:
    """Return the minimum and maximum of a number or date, nothing for other kinds."""
    if not (column.type == pyarrow.float64() or pyarrow.types.is_timestamp(column.type)):
        return []
    if not pyarrow.types.is_timestamp(column.type):
        return list(pyarrow.compute.min_max(column).as_py().values())
    microseconds = column.cast(pyarrow.timestamp("us")).cast(pyarrow.int64())
    ends = pyarrow.compute.min_max(microseconds).as_py().values()
    return [None if end is None else end / MICROSECONDS for end in ends]


def merge_statistics(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of the rows of both together."""
    others = second["columns"]
    return {
        "columns": {
            name: {"quantiles": _merge(column["quantiles"], others[name]["quantiles"])}
            for name, column in first["columns"].items()
        }
    }


def _merge(*extremes: list[float | None]) -> list[float | None]:
    """Return the least and the greatest of all values; those of columns without any are None."""
    least, greatest = (
        [end for end in ends if end is not None]
        for ends in zip(*(pair[:: len(pair) - 1] for pair in extremes), strict=True)
    )
    return [min(least, default=None), max(greatest, default=None)]
