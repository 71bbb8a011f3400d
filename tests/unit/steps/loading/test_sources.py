"""Tables read from files."""

import pandas as pd
import pytest

from steps.loading.reading import read_source
from steps.loading.sources import SAMPLE
from steps.runtime.errors import SourceError

pytestmark = pytest.mark.quick


def test_csv_and_parquet_give_same_table(table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "b.bin", index=False)
    from_csv = read_source(str(tmp_path / "a.csv")).to_pandas()
    from_parquet = read_source((tmp_path / "b.bin").as_uri()).to_pandas()
    pd.testing.assert_frame_equal(from_csv, from_parquet)


UNREADABLE = {
    "empty.csv": b"",
    "short.parquet": b"PAR1 and then nothing",
    "binary.csv": b'"\x00\xff\n"",,,\n,',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(SourceError, match=name) as caught:
        read_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_missing_file_is_one_line(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        read_source(str(tmp_path / "nowhere.csv"))


def test_sample_holds_all_frauds_and_every_twentieth_other_row():
    sample = read_source("sample").to_pandas()
    assert int(sample["Class"].sum()) == 492
    assert len(sample) == 14_709
    assert SAMPLE.stat().st_size <= 5e6
    assert list(sample.columns) == ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
