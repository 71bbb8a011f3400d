"""Windows of predictions and labels, read from a log."""

from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest

from serving.log.existing import open_log
from serving.log.ground_truth import Label
from serving.log.queries import LabelCounts, count_labels_since
from serving.model.features import Feature
from serving.model.prediction import ModelIdentity
from steps.monitoring import window
from steps.monitoring.retraining_data import labelled_predictions
from steps.monitoring.window import read_window, sample_mask
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
        assert whole.rows["by_champion"].all()
        assert whole.labelled["true_label"].tolist() == [1]
        assert every(last=4).count == 4
        assert every(last=6).features["V1"].tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]
        assert every(last=13).count == 12
        assert every(last=None, model_name="other").rows.empty
        assert every(last=None, since=datetime.now(UTC)).count == 0
        assert not every(last=None, champion_run_id="another").rows["by_champion"].any()
        assert every(last=None, features=[Feature("V1"), Feature("V3")]).features.empty
        assert count_labels_since(connection, "fraud", None) == LabelCounts(1, 0)
        for name, moment in (("fraud", datetime.now(UTC)), ("other", None)):
            assert count_labels_since(connection, name, moment) == LabelCounts(0, 0)
    (recorded_at,) = whole.labelled["recorded_at"]
    last = whole.rows["created_at"].iloc[-1]
    assert last < recorded_at
    assert whole.newer_than(recorded_at).rows.empty
    assert whole.newer_than(recorded_at).labelled.empty
    assert whole.newer_than(last).rows.empty
    assert len(whole.newer_than(last).labelled) == 1


@pytest.mark.quick
def test_large_window_has_the_features_of_a_sample(sqlite_uri, spool, monkeypatch):
    for name, rows in {"ROWS_PER_CHUNK": 3, "MAX_FEATURE_ROWS": 10}.items():
        monkeypatch.setattr(window, name, rows)
    rows = prediction_rows(50)
    for number, row in enumerate(rows):
        row.features = {"V1": number, "paid": number % 2 == 0, "job": f"job {number % 7}"}
    sampled = np.flatnonzero(sample_mask(np.arange(50), 5)).tolist()
    assert [number // 5 for number in sampled] == list(range(10))
    lacking = sampled.pop(2)
    rows[lacking].features = {"V1": lacking}
    with open_prediction_log(sqlite_uri) as log:
        log.record(rows[:20], MODEL, "test")
        log.record(rows[20:], MODEL, "test")
        log.record(prediction_rows(50), ModelIdentity("other", "1", "run"), "test")
        log.feedback([Label(0, prediction_id=row.prediction_id) for row in rows])
    features = [Feature("V1"), Feature("paid", "boolean"), Feature("job", "category")]
    with open_log(sqlite_uri) as connection:
        read = read_window(connection, "fraud", "run", features, None, None, None)
    assert (read.count, len(read.labelled), read.sampling_step) == (50, 50, 5)
    assert read.rows["score"].tolist() == [0.25 * number for number in range(50)]
    assert read.features.index.tolist() == read.features["V1"].tolist() == sampled
    assert read.features["paid"].tolist() == [number % 2 == 0 for number in sampled]
    assert read.features["job"].tolist() == [f"job {number % 7}" for number in sampled]
    newer = read.newer_than(read.rows["created_at"][19])
    assert newer.features["V1"].tolist() == [number for number in sampled if number >= 20]
    assert (newer.count, newer.sampling_step) == (30, 5)


@pytest.mark.quick
@pytest.mark.parametrize("step", [2, 3, 10])
def test_sample_is_even_and_does_not_follow_a_period(step):
    places = np.flatnonzero(sample_mask(np.arange(60_000), step))
    assert (places // step == np.arange(60_000 // step)).all()
    counts = np.bincount(places % step, minlength=step)
    assert counts.min() > 0.9 * counts.mean()


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
