import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from steps.data import fingerprints
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
    return int(seen.unseen(splits, splits.test, features).sum())


def test_record_hashes_differ_by_time_and_target(splits_of):
    splits = splits_of(TABLE)
    assert unseen(splits, RowFingerprints.of(splits, refitted=True), ["V1"]) == 20
    X, y = splits.test.X, splits.test.y
    hashes = [record_hashes(X, X.get, of, None) for of in (y, 1 - y)]
    assert (hashes[0] != hashes[1]).all()


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
    assert len(set(record_hashes(X, X.get, y, times))) == 3


def test_row_hashes_ignore_the_order_of_rows_and_columns():
    shuffled = TABLE[["Class", "V1", "Time"]].sample(frac=1, random_state=1)
    hashes = [np.sort(row_hashes(table)) for table in (TABLE, shuffled)]
    np.testing.assert_array_equal(*hashes)
    assert len(set(hashes[0])) == 100


@pytest.mark.parametrize("earlier", [False, True])
def test_rows_are_recognised_if_other_rows_miss_a_boolean(splits_of, monkeypatch, earlier):
    """pandas hashes booleans differently in a column with missing values."""
    seen_table = TABLE.assign(flag=np.arange(100) % 3 == 0)
    with monkeypatch.context() as patched:
        if earlier:
            patched.setattr(fingerprints, "_as_objects", lambda column: column)
        seen = RowFingerprints.of(splits_of(seen_table), refitted=True)
    newer = seen_table.iloc[::-1].reset_index(drop=True)  # the test rows were training rows
    assert unseen(splits_of(newer), seen, ["V1", "flag"]) == 0
    newer = newer.assign(flag=newer["flag"].astype(object))
    newer.loc[90, "flag"] = None  # in the test split
    assert unseen(splits_of(newer), seen, ["V1", "flag"]) == 1


@pytest.mark.parametrize("missing", [False, True])
def test_hashes_are_those_that_pandas_gives_to_whole_tables(tmp_path, missing):
    """Earlier releases computed them so; champions keep theirs."""
    table = pd.DataFrame(
        {
            "Class": np.tile([0, 1], 100),
            "amount": np.arange(200) / 7,
            "paid": pd.Series(np.arange(200) % 3 == 0, dtype=object),
            "job": [f"job {number % 7}" for number in range(200)],
            "since": pd.date_range("2026-01-01", periods=200, freq="h"),
        }
    )
    if missing:
        table.loc[::9, ["amount", "paid", "job", "since"]] = None
    splits = tables.load_frame(table, tmp_path)
    seen = RowFingerprints.of(splits, refitted=True)
    expected = []
    for split in (splits.training, splits.validation):
        rows = split.read()
        rows["paid"] = rows["paid"].astype(object)
        record = pd.concat([rows[[splits.target]], rows[sorted(splits.names)]], axis=1)
        expected.append(pd.util.hash_pandas_object(record, index=False))
        expected.append(splits.row_keys_of(split))
    assert len(splits.names) == 4
    np.testing.assert_array_equal(seen.hashes, np.unique(np.concatenate(expected)))


@pytest.mark.parametrize("parts", [1, 7, 1000])
def test_rows_are_recognised_by_a_file_that_is_read_in_parts(
    splits_of, tmp_path, monkeypatch, parts
):
    monkeypatch.setattr(fingerprints, "HASHES_AT_ONCE", parts)
    splits, file = splits_of(TABLE), tmp_path / "seen.parquet"
    RowFingerprints.of(splits, refitted=True).write(file)
    seen = RowFingerprints.read(file)
    assert (seen.rows, seen.until) == (80, "79.0")
    assert not seen.unseen(splits, splits.validation, ["V1"]).any()
    assert seen.unseen(splits, splits.test, ["V1"]).all()
    assert RowFingerprints.read(tmp_path / "none.parquet") is None


def test_files_of_earlier_releases_are_read(splits_of, tmp_path):
    splits, file = splits_of(TABLE), tmp_path / "seen.parquet"
    hashes = RowFingerprints.of(splits, refitted=False).hashes
    metadata = {"rows": "60", "until": "59.0", "has_ids": "true"}
    pq.write_table(pa.table({"hash": hashes}).replace_schema_metadata(metadata), file)
    seen = RowFingerprints.read(file)
    assert (seen.rows, seen.until, seen.has_ids, seen.has_keys) == (60, "59.0", True, False)
    assert not seen.unseen(splits, splits.training, ["V1"]).any()


def test_newer_compares_numbers_and_timestamps():
    assert newer("100000.0", "9.0")
    assert not newer("9.0", "9.0")
    assert newer("2024-01-02 00:00:00", "2023-12-31 00:00:00")
    for time, other in (("", "1.0"), ("1.0", ""), ("9.0", "2024-01-01 00:00:00")):
        assert not newer(time, other)
