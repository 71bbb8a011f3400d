import json

import numpy as np
import pandas as pd
import pytest

from steps.data.splits import Splits
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick


def test_written_splits_have_the_rows_of_the_table(table, tmp_path):
    written = load_frame(table, tmp_path)
    assert [len(written.training.frame), len(written.validation.frame)] == [240, 80]
    assert written.test.features == written.names == ["V1", "V2"]
    np.testing.assert_array_equal(written.test.y, table["Class"][320:])
    pd.testing.assert_frame_equal(written.all_rows(), table)


def test_splits_are_read_from_their_folder(table, tmp_path):
    written = load_frame(table, tmp_path)
    read = Splits(tmp_path)
    assert read.description == written.description
    pd.testing.assert_frame_equal(read.validation.frame, written.validation.frame)


def test_the_description_keeps_its_stored_keys(table, tmp_path):
    load_frame(table, tmp_path)
    stored = json.loads((tmp_path / "splits.json").read_text())
    assert list(stored) == [
        "source", "target", "time_column", "split", "duplicates", "rows", "positives", "digests",
        "latest", "features", "digest_kind", "equal_rows", "positive_rates", "repeated_in_test",
        "extras", "version", "classes", "positive_because", "id_column", "columns",
        "leakage_suspects", "reference",
    ]  # fmt: skip
    assert stored["features"][0] == {
        "name": "V1", "kind": "number", "nullable": False, "levels": [], "format": "",
        "has_time": False, "text": False,
    }  # fmt: skip
    assert list(stored["reference"]) == ["columns"]


def test_times_of_a_split_are_those_of_its_rows(table, tmp_path):
    splits = load_frame(table, tmp_path)
    times = splits.times_of(splits.validation)
    np.testing.assert_array_equal(times, np.arange(240.0, 320.0))


def test_splits_without_a_time_column_have_no_times(table, tmp_path):
    splits = load_frame(table.drop(columns="Time"), tmp_path)
    assert splits.times_of(splits.test) is None
    assert not (tmp_path / "times.parquet").exists()


def test_all_splits_have_missing_values_if_one_has(table, tmp_path):
    complete = load_frame(table, tmp_path)
    assert not complete.has_missing
    assert not complete.training.has_missing
    table.loc[399, "V2"] = np.nan  # in the test split
    splits = load_frame(table, tmp_path)
    assert splits.training.has_missing
    assert [feature.nullable for feature in splits.features] == [False, True]


def test_training_and_validation_are_one_split_with_a_file(table, tmp_path):
    rows = load_frame(table, tmp_path).training_and_validation
    assert len(rows.X) == len(rows.y) == 320
    pd.testing.assert_frame_equal(pd.read_parquet(rows.file), rows.frame)
