"""Windows of predictions and labels, read from a log."""

from datetime import UTC, datetime
from functools import partial

import pytest

from serving.log.existing import open_log
from serving.log.ground_truth import Label
from serving.log.queries import labels_since
from serving.model.features import Feature
from steps.monitoring.retraining_data import labelled_predictions
from steps.monitoring.window import read_window
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows


@pytest.mark.quick
def test_window_holds_predictions_of_one_model(uri, spool):
    with open_prediction_log(uri) as log:
        for _ in range(3):
            log.record(prediction_rows(4), MODEL, "test")
        log.feedback([Label(1, entity_id="card-2")])
    read = partial(read_window, model_name="fraud", champion_run_id=MODEL.run_id)
    with open_log(uri) as connection:
        every = partial(
            read, connection, features=[Feature("V1"), Feature("V2")], since=None, until=None
        )
        whole = every(last=None)
        assert (whole.count, len(whole.rows), len(whole.labelled)) == (12, 12, 1)
        assert whole.features["V1"].tolist() == [0.0, 1.0, 2.0, 3.0] * 3
        assert whole.features["V2"].isna().all()
        assert whole.rows[["by_champion", "has_features"]].all(axis=None)
        assert whole.labelled["true_label"].tolist() == [1]
        assert every(last=4).count == 4
        assert every(last=6).features["V1"].tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]
        assert every(last=13).count == 12
        assert every(last=None, model_name="other").rows.empty
        assert every(last=None, since=datetime.now(UTC)).count == 0
        assert not every(last=None, champion_run_id="another").rows["by_champion"].any()
        assert (
            not every(last=None, features=[Feature("V1"), Feature("V3")]).rows["has_features"].any()
        )
        (labelled,) = labels_since(connection, "fraud", None)
        assert not labels_since(connection, "fraud", datetime.now(UTC))
        assert not labels_since(connection, "other", None)
    assert whole.labelled["prediction_id"].tolist() == [labelled]
    assert whole.newer_than(whole.until, {}).rows.empty
    assert whole.newer_than(whole.until, {}).labelled.empty
    assert len(whole.newer_than(whole.until, {labelled: 1}).labelled) == 1


@pytest.mark.quick
def test_labelled_predictions_of_other_features_are_counted(uri, spool):
    with open_prediction_log(uri) as log:
        log.record(prediction_rows(4), MODEL, "test")
        log.feedback([Label(1, entity_id="card-2"), Label(0, entity_id="card-3")])
    with open_log(uri) as connection:
        found, other = labelled_predictions(
            connection, "fraud", [Feature("V1"), Feature("V2", nullable=True)], "Class"
        )
        assert found.rows[["V1", "Class"]].to_numpy().tolist() == [[2.0, 1.0], [3.0, 0.0]]
        assert found.rows["V2"].isna().all()
        assert found.keys["entity_id"].tolist() == ["card-2", "card-3"]
        assert other == 0
        found, other = labelled_predictions(
            connection, "fraud", [Feature("V1"), Feature("V3")], "Class"
        )
        assert (len(found.rows), other) == (0, 2)
