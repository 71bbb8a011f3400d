"""Single columns that separate the classes."""

import numpy as np
import pandas as pd
import pytest

from steps.evaluation.leakage import describe_leak, separating_columns

pytestmark = pytest.mark.quick

Y = np.r_[np.ones(10, np.int64), np.zeros(50, np.int64)]


def table(**columns: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"noise": np.random.default_rng(1).normal(size=60)} | columns)


@pytest.mark.parametrize(
    "column",
    [
        Y * 1.0,
        -3.0 * Y,
        np.where(Y, np.nan, 1.0),
        np.where(Y, 5.0, np.nan),
        Y == 1,
        np.where(Y, "back", "kept"),
        np.where(Y, None, "kept"),
        np.datetime64("2024-01-01", "us") + Y * np.timedelta64(1, "D"),
    ],
    ids=[
        "same",
        "opposite",
        "missing if positive",
        "missing if negative",
        "boolean",
        "category",
        "category missing if positive",
        "date",
    ],
)
def test_separating_column_is_found(column):
    assert separating_columns(table(refunded=column), Y) == ["refunded"]


def test_leak_names_its_column():
    assert describe_leak(table(refunded=Y * 1.0), Y).startswith(
        "KS is 1.0: column refunded alone separates the classes, which hints at a leak"
    )
    two = describe_leak(table(refunded=Y * 1.0, closed=-Y * 1.0), Y)
    assert "each of the columns refunded, closed alone separates the classes" in two


def test_perfect_model_without_separating_column_is_suspicious():
    assert "no single column separates the classes" in describe_leak(table(), Y)
