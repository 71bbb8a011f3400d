"""Rows of a retraining in the form of the user's table."""

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from serving.model.features import Feature
from steps.monitoring.logged_features import logged_columns
from steps.monitoring.retraining_data import (
    LabelledPredictions,
    append_new_rows,
    meaning_of_columns,
)
from steps.monitoring.source_form import as_logged, as_source
from steps.prediction_log.feature_decoder import FeatureDecoder

pytestmark = pytest.mark.quick

FEATURES = [
    Feature("job", "category", nullable=True),
    Feature("age"),
    Feature("charges", nullable=True, text=True),
    Feature("since", "date", nullable=True, format="%d.%m.%Y"),
    Feature("member", "boolean", nullable=True, levels=("No", "Yes")),
]
SPLITS = pd.DataFrame(
    {
        "job": ["clerk", None],
        "age": [31.0, 40.0],
        "charges": [1.5, None],
        "since": pd.to_datetime(["1999-02-01", None]),
        "member": [True, None],
        "left": [0, 1],
    }
)
LOGGED = {"job": "clerk", "age": 31, "charges": 1.5, "since": "1999-02-01", "member": "Yes"}


def test_rows_of_the_splits_return_to_the_form_of_the_table():
    table = as_source(as_logged(SPLITS, FEATURES), FEATURES, "left", ["stays", "goes"])
    assert table.astype(object).where(table.notna(), None).to_dict("list") == {
        "job": ["clerk", None],
        "age": [31, 40],
        "charges": ["1.5", None],
        "since": ["01.02.1999", None],
        "member": ["Yes", None],
        "left": ["stays", "goes"],
    }


def test_date_that_stands_for_none_keeps_its_year():
    rows = pd.DataFrame({"since": ["0001-01-01"], "left": [0]})
    assert as_source(rows, FEATURES[3:4], "left", ["0", "1"])["since"].tolist() == ["01.01.0001"]


def columns_of_log(*rows):
    """Return the columns of logged rows, and which rows have all features."""
    logged = pa.array([orjson.dumps(row).decode() for row in rows])
    with FeatureDecoder() as decoder:
        return logged_columns(logged, FEATURES, decoder)


def test_logged_row_that_equals_a_row_of_the_splits_is_the_same_record():
    rows, complete = columns_of_log(LOGGED, LOGGED | {"since": "1999-02-02"})
    assert complete.all()
    moments = pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True)
    keys = {"created_at": moments, "row_key": np.uint64([1, 2]), "entity_id": [None, None]}
    labelled = LabelledPredictions(pd.DataFrame(rows | {"left": 0}), pd.DataFrame(keys))
    table, added, _ = append_new_rows(as_logged(SPLITS, FEATURES), labelled, "Time", "id")
    assert added == 1
    assert table["since"].tolist() == ["1999-02-01", None, "1999-02-02"]


@pytest.mark.parametrize("change", [{"age": "many"}, {"since": "soon"}, {"member": 7}])
def test_logged_row_of_another_kind_is_incomplete(change):
    assert columns_of_log(LOGGED, LOGGED | change)[1].tolist() == [True, False]


def test_logged_row_without_a_feature_is_incomplete():
    assert columns_of_log({"job": "clerk"}, LOGGED)[1].tolist() == [False, True]


def test_retraining_is_told_the_kinds_and_the_positive_class():
    assert meaning_of_columns(FEATURES, ["stays", "goes"]) == {
        "positive": "goes",
        "categorical": "job",
        "numeric": "age,charges",
    }
    assert meaning_of_columns([Feature("V1")], ["0", "1"]) == {}


def test_retraining_is_not_told_of_columns_that_were_left_out():
    told = meaning_of_columns([Feature("V1")], ["0", "1"], overruled=True)
    assert told == {"categorical": "", "numeric": "V1"}
