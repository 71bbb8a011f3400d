"""The target: any two values, one of which is class 1."""

import numpy as np
import pandas as pd
import pytest

from steps.runtime.errors import DataError, ParameterError
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick


def described(table, folder, zero, one, positive=""):
    table["Class"] = pd.Series(np.where(table["Class"] == 1, "one", "zero")).map(
        {"one": one, "zero": zero}
    )
    return load_frame(table, folder, positive=positive).description


@pytest.mark.parametrize(
    ("zero", "one", "because"),
    [
        (0, 1, "it reads as true"),
        (0.0, 1.0, "it reads as true"),
        ("0", "1", "it reads as true"),
        (False, True, "it reads as true"),
        (-1, 1, "it reads as true"),
        ("no", "yes", "it reads as true"),
        ("N", "Y", "it reads as true"),
        ("negative", "Positive", "it reads as true"),
        ("yes", "never", "it reads as true"),  # although it is the more frequent value
        (1, 2, "it is the rarer value"),
        (1.5, 0.5, "it is the rarer value"),
        (0.5, float("inf"), "it is the rarer value"),
        ("good", "bad", "it is the rarer value"),
        ("y", "t", "it is the rarer value"),
    ],
)
def test_class_1_is_true_or_rare(table, tmp_path, zero, one, because):
    description = described(table, tmp_path, zero, one)
    expected = [str(zero), str(one)] if zero != "yes" else ["never", "yes"]
    expected = [text.removesuffix(".0").lower() for text in expected]
    assert [text.lower() for text in description.classes] == expected
    assert description.positive_because.startswith(because)
    assert sum(description.positives.values()) == (40 if zero != "yes" else 360)


@pytest.mark.parametrize(
    ("zero", "one", "positive", "classes"),
    [
        ("no", "yes", "no", ["yes", "no"]),
        (0, 1, "0", ["1", "0"]),
        (0.5, 1.0, "1", ["0.5", "1"]),
        ("1", "2", "1.0", ["2", "1"]),
        (True, False, "true", ["false", "true"]),
    ],
)
def test_positive_names_class_1(table, tmp_path, zero, one, positive, classes):
    description = described(table, tmp_path, zero, one, positive)
    assert description.classes == classes
    assert description.positive_because == "positive names it"


def test_equally_frequent_values_sort(table, tmp_path):
    table["Class"] = np.where(np.arange(400) % 2, "a", "b")
    description = load_frame(table, tmp_path).description
    assert description.classes == ["a", "b"]
    assert "sorts last" in description.positive_because


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows.where(rows.index % 50 > 0, "perhaps"),
         "the target must have two values, but has 3 ('no' in 360 rows, 'yes' in 32 rows, "
         "'perhaps' in 8 rows; row 1 has 'perhaps')"),
        (lambda rows: rows.where(rows.index % 50 > 0), "missing values in the target (8 rows, the "
         "first is row 1); remove those rows"),
        (lambda rows: rows.mask(rows.index >= 0, "no"), "all 400 rows have the value 'no'"),
        (lambda rows: rows.where(rows == "no", "y\0s"), "a value of the target contains a NUL"),
        (lambda rows: rows.where(rows.isna()), "all values of the target are missing"),
    ],
)  # fmt: skip
def test_unsuitable_targets_are_one_line(table, tmp_path, spoil, message):
    table["Class"] = spoil(table["Class"].map({0: "no", 1: "yes"}))
    with pytest.raises(DataError) as caught:
        load_frame(table, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_positive_names_the_values(table, tmp_path):
    with pytest.raises(ParameterError, match="'fraud' is no value of the target Class; pass one"):
        load_frame(table, tmp_path, positive="fraud")
