"""Statistics of the rows that a model was fitted on."""

import pandas as pd
import pytest

from steps.candidates.exports import _statistics
from steps.data.feature_statistics import feature_statistics, merge_statistics

pytestmark = pytest.mark.quick


@pytest.fixture
def statistics_of(tmp_path):
    def statistics(**columns: list[float]):
        file = tmp_path / "rows.parquet"
        pd.DataFrame(columns | {"Class": [0] * 3}, dtype="float64").to_parquet(file)
        return feature_statistics(file)

    return statistics


def test_merged_statistics_cover_the_rows_of_both(statistics_of):
    first = statistics_of(V1=[1, 2, 3], V2=[1, 1, 1])
    second = statistics_of(V1=[2, 2, 5], V2=[None, None, None])
    assert merge_statistics(first, second) == {
        "columns": {"V1": {"quantiles": [1.0, 5.0]}, "V2": {"quantiles": [1.0, 1.0]}}
    }


def test_earlier_statistics_of_21_quantiles_can_be_merged(statistics_of):
    first = {"columns": {"V1": {"quantiles": [float(i) for i in range(21)]}}}
    assert merge_statistics(first, statistics_of(V1=[-1, 2, 5])) == {
        "columns": {"V1": {"quantiles": [-1.0, 20.0]}}
    }


def test_refitted_model_has_statistics_of_validation_rows_too(small_splits):
    training = small_splits.training.X
    both = small_splits.training_and_validation.X
    for refitted, rows in ((False, training), (True, both)):
        found = _statistics(small_splits, refitted)["columns"]
        for name in training:
            assert found[name]["quantiles"] == [rows[name].min(), rows[name].max()]
    assert training.max().tolist() != both.max().tolist()


def test_range_of_dates_is_in_seconds(tmp_path):
    days = pd.to_datetime(["1970-01-02", None, "1969-12-31"]).astype("datetime64[us]")
    rows = pd.DataFrame({"since": days, "job": ["a", "b", "c"], "Class": [0, 1, 0]})
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    assert feature_statistics(tmp_path / "rows.parquet") == {
        "columns": {"since": {"quantiles": [-86400.0, 86400.0]}}
    }
