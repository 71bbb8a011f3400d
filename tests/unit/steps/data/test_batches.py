"""Splits of more rows than are held in memory, against the same splits held whole."""

import numpy as np
import pandas as pd
import pytest

from steps.data import splits as splits_module
from steps.data.class_sample import class_sample
from steps.data.fingerprints import RowFingerprints
from steps.data.reference import Reference
from steps.data.splits import Splits
from steps.preparation.prepared_splits import prepare
from tests.support.mixed_splits import FEATURES, mixed_splits

pytestmark = pytest.mark.quick
ROWS = 70
NAMES = [feature.name for feature in FEATURES]


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A function that opens the same splits, in memory or in batches of 70 rows."""
    mixed_splits(tmp_path)

    def opened(in_batches: bool) -> Splits:
        monkeypatch.setattr(splits_module, "ROWS_AT_ONCE", ROWS if in_batches else 10_000)
        return Splits(tmp_path)

    return opened


def test_batches_are_bounded_and_not_kept(opened):
    split = opened(in_batches=True).training
    assert [len(batch) for batch in split.batches()] == [70] * 8 + [40]
    assert len(split.head(3)) == 3
    assert "frame" not in vars(split)


@pytest.mark.parametrize(
    "read",
    [
        lambda splits: pd.concat(splits.training.batches(), ignore_index=True),
        lambda splits: splits.training.take(np.array([599, 0, 71, 71, 70, 1])),
        lambda splits: splits.validation.head(30),
        lambda splits: pd.DataFrame({name: splits.test.column(name) for name in NAMES}),
        lambda splits: splits.training.subset("odd rows", np.arange(599, 0, -2)).read(),
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
    pd.testing.assert_frame_equal(in_batches, whole, check_dtype=False)


def test_columns_without_values_in_some_rows_are_joined(opened, tmp_path):
    """pandas writes a column without values with no type."""
    splits = opened(in_batches=False)
    emptied = splits.training.frame.assign(job=None)
    emptied.to_parquet(tmp_path / "training.parquet", index=False)
    joined = opened(in_batches=True).training_and_validation.read()
    assert joined["job"].isna().sum() >= len(emptied)
    assert joined["job"].nunique() == 4
