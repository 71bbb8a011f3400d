import numpy as np
import pandas as pd
import pytest

from steps.data.fingerprints import RowFingerprints, newer, record_hashes, row_hashes
from steps.data.splits import Splits
from tests.support import tables

pytestmark = pytest.mark.quick

TABLE = pd.DataFrame(
    {
        "Time": np.arange(100.0),
        "V1": np.tile([1.0, 2.0], 50),  # equal rows at different times
        "Class": np.tile([0, 0, 1, 1], 25),
    }
)


@pytest.fixture
def splits_of(tmp_path_factory):
    """A function that splits a table 60/20/20 in the order of its rows."""

    def splits_of(table: pd.DataFrame, target: str = "Class") -> Splits:
        rows = table.drop(columns="Time")
        frames = np.split(rows, [len(rows) * 6 // 10, len(rows) * 8 // 10])
        folder = tmp_path_factory.mktemp("splits")
        return tables.splits_of(frames, folder, target, times=table["Time"])

    return splits_of


def unseen(splits: Splits, seen: RowFingerprints, features: list[str]) -> int:
    X, y, times = splits.test.frame[features], splits.test.y, splits.times_of(splits.test)
    return int((~np.isin(record_hashes(X, y, times), seen.hashes)).sum())


def test_record_hashes_differ_by_time_and_target(splits_of):
    splits = splits_of(TABLE)
    assert unseen(splits, RowFingerprints.of(splits, refitted=True), ["V1"]) == 20
    X, y = splits.test.X, splits.test.y
    assert (record_hashes(X, y, None) != record_hashes(X, 1 - y, None)).all()


def test_fingerprints_survive_new_columns_and_a_renamed_target(splits_of):
    seen = RowFingerprints.of(splits_of(TABLE), refitted=True)
    extended = TABLE.assign(V0=0.0).rename(columns={"Class": "Aim"})
    reversed_rows = extended.iloc[::-1].reset_index(drop=True)  # the test rows were training rows
    assert unseen(splits_of(reversed_rows, "Aim"), seen, ["V1"]) == 0


def test_fingerprints_count_validation_rows_only_after_a_refit(splits_of):
    splits = splits_of(TABLE)
    fitted, refitted = (RowFingerprints.of(splits, refitted) for refitted in (False, True))
    assert (fitted.rows, fitted.until) == (60, "59.0")
    assert (refitted.rows, refitted.until) == (80, "79.0")
    np.testing.assert_array_equal(fitted.hashes, refitted.hashes)
    assert len(fitted.hashes) == 80


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_record_hashes_accept_timestamps(zone):
    times = pd.Series(pd.date_range("2026-01-01", periods=3, freq="h", tz=zone))
    X, y = pd.DataFrame({"V1": [1.0] * 3}), np.zeros(3, int)
    assert len(set(record_hashes(X, y, times))) == 3


def test_row_hashes_ignore_the_order_of_rows_and_columns():
    shuffled = TABLE[["Class", "V1", "Time"]].sample(frac=1, random_state=1)
    hashes = [np.sort(row_hashes(table)) for table in (TABLE, shuffled)]
    np.testing.assert_array_equal(*hashes)
    assert len(set(hashes[0])) == 100


def test_fingerprints_round_trip(tmp_path):
    seen = RowFingerprints(np.arange(600, dtype=np.uint64), 600, "20.0")
    seen.write(tmp_path / "seen.parquet")
    again = RowFingerprints.read(tmp_path / "seen.parquet")
    assert (again.rows, again.until) == (600, "20.0")
    np.testing.assert_array_equal(again.hashes, seen.hashes)
    assert RowFingerprints.read(tmp_path / "none.parquet") is None


def test_newer_compares_numbers_and_timestamps():
    assert newer("100000.0", "9.0")
    assert not newer("9.0", "9.0")
    assert newer("2024-01-02 00:00:00", "2023-12-31 00:00:00")
    for time, other in (("", "1.0"), ("1.0", ""), ("9.0", "2024-01-01 00:00:00")):
        assert not newer(time, other)
