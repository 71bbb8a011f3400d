"""Splits as engines see them."""

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from steps.data.splits import Splits
from steps.preparation.column_names import column_names
from steps.preparation.edge_rows import UNSEEN, edge_rows
from steps.preparation.fitting import MIN_LEVEL_ROWS, fit_encodings
from steps.preparation.prepared_splits import fit_preparations, prepare
from tests.support.mixed_splits import TARGET, mixed_splits
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return mixed_splits(tmp_path_factory.mktemp("mixed"))


def test_prepared_rows_are_numbers_under_plain_names(splits):
    prepared = prepare(splits)
    for split in (prepared.training, prepared.validation):
        assert list(split.frame) == [*split.features, prepared.target]
        assert (split.X.dtypes == "float64").all()
        assert all(name.isidentifier() and name.isascii() for name in split.frame)
        assert len({name.lower() for name in split.frame}) == split.frame.shape[1]
        pd.testing.assert_frame_equal(pd.read_parquet(split.file), split.frame)
    assert prepared.has_missing
    assert TARGET not in prepared.training.frame


def test_refit_is_prepared_on_training_and_validation_rows(splits):
    first, refit = prepare(splits), prepare(splits, refit=True)
    assert len(refit.training.frame) == len(first.training.frame) + len(first.validation.frame)
    rate = first.preparation.encodings[1], refit.preparation.encodings[1]
    assert rate[0].levels.keys() <= rate[1].levels.keys()
    assert rate[0].levels != rate[1].levels


def test_numbers_with_plain_names_are_not_copied(table, tmp_path):
    splits = load_frame(table, tmp_path)
    prepared = prepare(splits)
    assert prepared.training is splits.training
    assert prepared.preparation.encodings == ()


def test_booleans_with_missing_values_become_numbers(table, tmp_path):
    splits = load_frame(table.assign(V3=[None, True, False, True] * 100), tmp_path)
    fit_preparations(splits, tmp_path, seed=1)
    assert not (tmp_path / "refit.parquet").exists(), "load_data would log it"
    training = prepare(Splits(tmp_path)).training
    assert splits.training.X.dtypes["V3"].kind == "O"
    assert (training.X.dtypes == "float64").all()
    counts = training.X["V3"].value_counts(dropna=False)
    assert [counts[1.0], counts[0.0], counts[np.nan]] == [120, 60, 60]


def test_target_rates_of_training_rows_do_not_know_their_own_target():
    """Random levels must not predict the target they were drawn without."""
    random = np.random.default_rng(5)
    levels = pd.DataFrame({"city": random.integers(0, 60, 3000).astype(str)})
    y = random.integers(0, 2, 3000)
    fitted = fit_encodings([Feature("city", "category")], levels.get, y, seed=1)
    (encoding,) = fitted.encodings
    in_sample = np.array([encoding.values_of(city)[0] for city in levels["city"]])
    assert np.corrcoef(in_sample, y)[0, 1] > 0.1
    assert abs(np.corrcoef(fitted.cross_fitted["city"], y)[0, 1]) < 0.05


def test_rare_missing_and_unseen_levels_have_values_of_their_own():
    levels = ["a"] * 20 + ["b"] * 30 + [None] * 5 + ["rare"] * (MIN_LEVEL_ROWS - 1) + ["odd"]
    rows = pd.DataFrame({"x": levels})
    y = np.arange(len(levels)) % 2
    (encoding,) = fit_encodings([Feature("x", "category", nullable=True)], rows.get, y, 1).encodings
    assert encoding.columns == ("x_1", "x_2", "x_3", "x_4")
    assert encoding.values_of("b") == (1, 0, 0, 0)
    assert encoding.values_of("rare") == encoding.values_of("odd") == (0, 0, 0, 1)
    assert encoding.values_of(None) == (0, 0, 1, 0)
    assert encoding.values_of("new") == (0, 0, 0, 0)


def test_parts_of_dates_that_do_not_vary_are_left_out():
    rows = pd.DataFrame({"at": pd.to_datetime(["2020-01-01", "2020-01-31", None])})
    (encoding,) = fit_encodings([Feature("at", "date")], rows.get, np.array([0, 1, 0]), 1).encodings
    assert encoding.parts == ("seconds", "day", "weekday")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["V1", "v1"], ["V1", "v1_2"]),
        (["v1_2", "V1", "v1"], ["v1_2", "V1", "v1_3"]),
        (["Monthly Charges ($)", "größe", "数"], ["Monthly_Charges", "gr_e", "column_3"]),
        (["prediction", "ml_pipes_row", "1st"], ["column_1", "column_2", "column_3"]),
        (["x" * 80], ["x" * 50]),
        (["a b", "a_b"], ["a_b_2", "a_b"]),
    ],
)  # fmt: skip
def test_column_names_are_similar_and_distinct(names, expected):
    assert column_names(names) == expected


def test_edge_rows_have_unseen_levels_and_missing_values(splits):
    edge = edge_rows(splits)
    assert (edge.frame["job"] == UNSEEN).any()
    assert edge.frame["prediction"].isna().mean() > splits.validation.X["prediction"].isna().mean()
    assert edge.frame["Prediction"].notna().all()
    assert len(prepare(splits).preparation.apply(edge).frame) == len(edge.frame)
