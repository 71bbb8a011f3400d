from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steps.data.class_sample import class_sample
from steps.data.splits import Split

pytestmark = pytest.mark.quick


@pytest.fixture
def rows(tmp_path):
    def make(count: int, positives: int) -> Split:
        y = np.random.default_rng(3).permutation(np.arange(count) < positives).astype(np.int64)
        frame = pd.DataFrame({"x": np.arange(float(count)), "y": y})
        return Split("training", tmp_path / "training.parquet", ["x"], "y", in_memory=frame)

    return make


@pytest.mark.parametrize(
    ("positives", "drawn", "ratio"),
    [
        (30, 30, 1 / (170 / 970)),
        (400, 100, (100 / 400) / (100 / 600)),
        (950, 150, (150 / 950) / (50 / 50)),
    ],
)
def test_sample_keeps_the_rarer_class(rows, positives, drawn, ratio):
    sample, drawing_ratio = class_sample(rows(1_000, positives), 200)
    assert [len(sample.frame), sample.y.sum()] == [200, drawn]
    assert drawing_ratio == pytest.approx(ratio)


def test_sample_has_distinct_rows_in_order_and_repeats(rows):
    split = rows(1_000, 30)
    sample, _ = class_sample(split, 200)
    assert sample.frame["x"].is_monotonic_increasing
    assert sample.frame["x"].is_unique
    pd.testing.assert_frame_equal(pd.read_parquet(sample.file), sample.frame)
    pd.testing.assert_frame_equal(class_sample(split, 200)[0].frame, sample.frame)
    assert sample.file != Path(split.file)
