"""The table of a retraining: features of every kind, called like columns of the log."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from serving.log.existing import open_log
from serving.log.ground_truth import Label
from serving.model.schema import FeatureSchema
from steps.monitoring.retraining_data import (
    LabelledPredictions,
    append_new_rows,
    base_rows,
    labelled_predictions,
    meaning_of_columns,
)
from steps.monitoring.source_form import as_source
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows
from tests.support.tables import load_frame

NEW_ROWS = 40
OVERRULING = ("categorical", "numeric")


def table(rows: int) -> pd.DataFrame:
    """Return a table as a user may have it: numbers, words and dates as text, own ids."""
    random = np.random.default_rng(3)
    days = np.datetime64("2019-11-30") + random.integers(0, 900, rows).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "created_at": pd.Series(days).dt.strftime("%d.%m.%Y"),
            "prediction_id": random.choice(["clerk", "nurse", None], rows),
            "entity_id": random.normal(size=rows),
            "id": random.integers(0, 30, rows),
            "score": np.where(random.random(rows) < 0.1, "", random.lognormal(size=rows)),
            "label": random.choice(["No", "Yes"], rows),
            "customer": [f"customer {number}" for number in range(rows)],
            "outcome": random.choice(["good", "bad"], rows),
        }
    )


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    """The rows of the base, then those that are logged."""
    return table(600 + NEW_ROWS)


@pytest.fixture(scope="module")
def base(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    rows = whole.head(-NEW_ROWS)
    return load_frame(rows, folder, "outcome", positive="bad", id_column="customer")


@pytest.fixture
def labelled(whole, base, sqlite_uri, spool) -> LabelledPredictions:
    """The last rows as predictions in a log, with their outcomes."""
    rows = whole.tail(NEW_ROWS)
    columns = rows[base.names].astype(object).where(rows[base.names].notna(), None)
    sent = FeatureSchema(base.features).parse_columns([columns[name].tolist() for name in columns])
    values = zip(sent.to_dicts(), rows["customer"], strict=True)
    made = [
        replace(row, features=features, entity_id=id_)
        for row, (features, id_) in zip(prediction_rows(NEW_ROWS), values, strict=True)
    ]
    outcomes = zip(rows["customer"], rows["outcome"], strict=True)
    with open_prediction_log(sqlite_uri) as log:
        log.record(made, MODEL, "test")
        log.feedback([Label(int(found == "bad"), entity_id=id_) for id_, found in outcomes])
    with open_log(sqlite_uri) as connection:
        found, incomplete = labelled_predictions(connection, MODEL.name, base.features, "outcome")
    assert incomplete == 0
    return found


@pytest.fixture
def retraining_table(base, labelled) -> pd.DataFrame:
    rows, _ = base_rows(base, "ab" * 16)
    rows, added, _ = append_new_rows(rows, labelled, "", "customer")
    assert added == NEW_ROWS
    return as_source(rows, base.features, "outcome", base.description.classes)


@pytest.mark.quick
def test_logged_values_return_to_the_form_of_the_table(whole, retraining_table):
    assert sorted(retraining_table["customer"]) == sorted(whole["customer"])
    expected = whole.set_index("customer").loc[retraining_table["customer"]]
    for name in ("created_at", "entity_id", "id", "label", "outcome"):
        assert retraining_table[name].tolist() == expected[name].tolist()


@pytest.mark.quick
def test_columns_are_recognised_as_before(whole, base, retraining_table, tmp_path):
    told = meaning_of_columns(base.features, base.description.classes)
    names = {parameter: tuple(told.pop(parameter).split(",")) for parameter in OVERRULING}
    again = load_frame(retraining_table, tmp_path, "outcome", id_column="customer", **told, **names)
    kinds = {feature.name: (feature.kind, feature.format) for feature in base.features}
    assert kinds == {f.name: (f.kind, f.format) for f in again.features}
    assert set(kinds) == set(whole) - {"customer", "outcome"}
    assert sum(again.description.rows.values()) == len(whole)
