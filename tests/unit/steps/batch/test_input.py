"""Row ranges of Parquet files."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from serving.batch import parts
from steps.batch import input as batch_input


@pytest.mark.quick
@pytest.mark.parametrize("row_group", [1, 90, 250, 1_000])
def test_parts_hold_every_row_once_in_order(tmp_path, monkeypatch, row_group):
    monkeypatch.setattr(batch_input, "MIN_PART_ROWS", 40)
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 30)
    file = tmp_path / "rows.parquet"
    pd.DataFrame({"row": range(1_000)}).to_parquet(file, row_group_size=row_group)
    ranges = batch_input.ranges_of_files({str(file): pa.parquet.read_metadata(file)})
    assert len(ranges) >= 8
    assert min(part.rows for part in ranges[:-1]) >= min(row_group, 40)
    found = [row for part in ranges for rows in part.read() for row in rows["row"].to_pylist()]
    assert found == list(range(1_000))
