"""Splits that are read in batches have the same rows as splits that are read whole."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from steps.candidates.importance import permutation_importance
from steps.data import split_files
from steps.data import splits as splits_module
from steps.data.class_sample import class_sample
from steps.data.fingerprints import RowFingerprints
from steps.data.reference import Reference
from steps.data.split_files import RowGroups, write_tables
from steps.data.splits import Split, Splits
from steps.export.scoring import scores_of
from steps.preparation.prepared_splits import prepare
from tests.support.linear_scorer import write_scorer
from tests.support.mixed_splits import FEATURES, mixed_splits

pytestmark = pytest.mark.quick
ROWS, ROW_GROUP = 64, 20
NAMES = [feature.name for feature in FEATURES]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A function that opens the same splits, to be read whole or in batches of 64 rows."""
    monkeypatch.setattr(split_files, "ROW_GROUP", ROW_GROUP)
    mixed_splits(tmp_path)

    def opened(in_batches: bool) -> Splits:
        rows = ROWS if in_batches else 10_000
        monkeypatch.setattr(splits_module, "VALUES_AT_ONCE", rows * (len(FEATURES) + 1))
        return Splits(tmp_path)

    return opened


def test_batches_are_bounded_and_not_kept(opened):
    split = opened(in_batches=True).training
    assert [len(batch) for batch in split.batches()] == [64] * 9 + [24]
    assert len(split.head(3)) == 3
    assert "frame" not in vars(split)


def test_columns_are_read_alone(opened):
    split = opened(in_batches=False).training
    assert len(split.column("job")) == len(split)
    assert "frame" not in vars(split)


@pytest.mark.parametrize(
    "read",
    [
        lambda splits: pd.concat(splits.training.batches(), ignore_index=True),
        lambda splits: splits.training.take(np.array([599, 0, 71, 71, 70, 1])),
        lambda splits: splits.validation.head(30).astype({"member": object}),
        lambda splits: pd.DataFrame({name: splits.test.column(name) for name in NAMES}),
        lambda splits: splits.training.subset("odd", np.arange(599, 0, -2)).read(),
        lambda splits: class_sample(splits.training, 100)[0].read(),
        lambda splits: splits.training_and_validation.read(),
        lambda splits: prepare(splits).training.read(),
        lambda splits: prepare(splits, refit=True).training.read(),
        lambda splits: Reference.of(splits.training, np.arange(9.0)).rows,
        lambda splits: pd.DataFrame(RowFingerprints.of(splits, refitted=True).hashes),
        lambda splits: pd.DataFrame(
            RowFingerprints.of(splits, refitted=True).unseen(splits, splits.test, NAMES[:3])
        ),
    ],
)
def test_batches_give_the_same_rows(opened, read):
    whole, in_batches = read(opened(in_batches=False)), read(opened(in_batches=True))
    assert len(whole)
    pd.testing.assert_frame_equal(in_batches, whole)


def test_batches_have_the_same_scores_and_importance(tmp_path, feature_rows, monkeypatch):
    y = (np.arange(len(feature_rows)) % 5 == 0).astype(int)
    file = tmp_path / "validation.parquet"
    feature_rows.assign(Class=y).to_parquet(file, index=False)
    whole = Split("validation", file, list(feature_rows), "Class")
    folder = tmp_path / "scorer"
    folder.mkdir()
    scorer = write_scorer(folder)
    expected, importance = scores_of(scorer, whole), permutation_importance(scorer, whole)
    monkeypatch.setattr(splits_module, "VALUES_AT_ONCE", 7 * (len(whole.features) + 1))
    in_batches = replace(whole)
    np.testing.assert_array_equal(scores_of(scorer, in_batches), expected)
    pd.testing.assert_frame_equal(permutation_importance(scorer, in_batches), importance)
    assert "frame" not in vars(in_batches)


@pytest.mark.parametrize("count", [1, 19, 20, 99, 100, 101, 120, 400])
def test_row_groups_are_those_of_a_table_written_at_once(count, tmp_path, monkeypatch):
    monkeypatch.setattr(split_files, "ROW_GROUP", ROW_GROUP)
    table = pa.table({"x": np.arange(count)})
    pa.parquet.write_table(table, tmp_path / "whole.parquet", row_group_size=ROW_GROUP)
    parts = (table.slice(start, 33) for start in range(0, count, 33))
    write_tables(parts, tmp_path / "parts.parquet")
    whole, written = (
        pa.parquet.ParquetFile(tmp_path / name) for name in ("whole.parquet", "parts.parquet")
    )
    assert written.read().equals(whole.read())
    groups = [
        [file.metadata.row_group(place).num_rows for place in range(file.num_row_groups)]
        for file in (whole, written)
    ]
    assert groups[0] == groups[1]


def test_no_rows_are_no_row_group():
    assert RowGroups().rest() is None


def test_columns_without_values_in_some_rows_are_joined(opened, tmp_path):
    """pandas writes a column without values with no type."""
    splits = opened(in_batches=False)
    emptied = splits.training.frame.assign(job=None)
    emptied.to_parquet(tmp_path / "training.parquet", index=False)
    joined = opened(in_batches=True).training_and_validation.read()
    assert joined["job"].isna().sum() >= len(emptied)
    assert joined["job"].nunique() == 4
