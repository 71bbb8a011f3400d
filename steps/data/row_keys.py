"""Keys of rows that values cannot identify: by their table and their number in it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from steps.data.split_files import EXTRA_FILES

RowKeys = npt.NDArray[np.uint64]
# The column of a table that already has keys: that of a retraining.
ROW_KEY = "_ml_pipes_row"


def keys_of_rows(content: str, numbers: npt.NDArray[np.int64]) -> RowKeys:
    """Return a 64-bit key of each row of a table.

    Args:
        content: the digest of the values of the whole table, so that the same table, loaded
            again, gives the same keys.
        numbers: the numbers of the rows in the table, shape (n_rows,).
    """
    offset = np.uint64(int(content[:16], 16))
    mixed = pd.util.hash_array(numbers.astype(np.uint64))
    return pd.util.hash_array(mixed ^ offset)


def keys_of_predictions(prediction_ids: "pd.Series[str]") -> RowKeys:
    """Return a 64-bit key of each prediction."""
    return pd.util.hash_array(prediction_ids.to_numpy(object))


def write_row_keys(content: str, splits: npt.NDArray[np.int8], folder: Path) -> None:
    """Write the keys of the rows of a table in the order of its splits.

    Args:
        content: the digest of the values of the whole table.
        splits: the split of each row of the table, 0, 1 or 2, shape (n_rows,).
        folder: the folder of the splits.
    """
    numbers = np.argsort(splits, kind="stable")
    table = pa.table({"row_key": keys_of_rows(content, numbers)})
    pa.parquet.write_table(table, folder / EXTRA_FILES["row_key"])
