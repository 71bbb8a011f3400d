"""Ground-truth labels by prediction or by the caller's id."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from serving.errors import InputError
from serving.log.ground_truth import Label
from tests.support.log_fixtures import MODEL, prediction_rows

pytestmark = pytest.mark.quick


def true_labels(log):
    return {row.prediction_id: row.true_label for row in log.page(limit=20_000).predictions}


def test_label_by_prediction_id(log):
    first, second = log.record(prediction_rows(2), MODEL, "test")
    result = log.feedback([Label(1, prediction_id=second.prediction_id)])
    assert (result.recorded, result.unknown) == (1, [])
    assert true_labels(log) == {first.prediction_id: None, second.prediction_id: 1}


def test_last_label_wins(log):
    (row,) = log.record(prediction_rows(1), MODEL, "test")
    for label in (1, 0, 1, 0):
        log.feedback([Label(label, prediction_id=row.prediction_id)])
    assert true_labels(log) == {row.prediction_id: 0}
    log.feedback([Label(0, entity_id="card-0"), Label(1, entity_id="card-0")])
    assert true_labels(log) == {row.prediction_id: 1}
    assert log.overview(10, 1)[0].labels == 6
    assert log.overview(10, 1)[0].predictions == 1


def test_label_by_entity_id_uses_last_earlier_prediction(log):
    before = datetime.now(UTC)
    (first,) = log.record(prediction_rows(1), MODEL, "test")
    between = datetime.now(UTC)
    (second,) = log.record(prediction_rows(1), MODEL, "test")
    tokyo = between.astimezone(datetime.strptime("+0900", "%z").tzinfo)
    log.feedback([Label(1, entity_id="card-0", observed_at=tokyo)])
    assert true_labels(log) == {first.prediction_id: 1, second.prediction_id: None}
    log.feedback([Label(0, entity_id="card-0")])
    assert true_labels(log) == {first.prediction_id: 1, second.prediction_id: 0}
    too_early = log.feedback([Label(0, entity_id="card-0", observed_at=before)])
    assert (too_early.recorded, too_early.unknown) == (0, ["card-0"])


def test_unknown_ids_are_reported(log):
    (row,) = log.record(prediction_rows(1), MODEL, "test")
    result = log.feedback(
        [
            Label(1, prediction_id="nobody"),
            Label(1, prediction_id=row.prediction_id),
            Label(1, entity_id="Ünknown 'card'"),
            Label(0, entity_id="card-0"),
        ]
    )
    assert (result.recorded, result.unknown) == (2, ["nobody", "Ünknown 'card'"])


WRONG = {
    "label: must be 0 or 1": Label(2, entity_id="card-0"),
    "either prediction_id or id": Label(1),
    "either prediction_id or": Label(1, prediction_id="a", entity_id="b"),
    "must have a time zone": Label(1, entity_id="a", observed_at=datetime(2026, 1, 1)),
    "plain text": Label(1, entity_id="a\0"),
    "must not be in the future": Label(
        1, entity_id="a", observed_at=datetime(2999, 1, 1, tzinfo=UTC)
    ),
    "years 1 to 9999 in UTC": Label(
        1, entity_id="a", observed_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    ),
}


@pytest.mark.parametrize("rule", WRONG)
def test_invalid_label_rejects_whole_call(log, rule):
    log.record(prediction_rows(1), MODEL, "test")
    with pytest.raises(InputError, match=rule) as caught:
        log.feedback([Label(1, entity_id="card-0"), WRONG[rule]])
    assert "labels[1]" in str(caught.value)
    assert log.overview(10, 1)[0].labels == 0


def test_ten_thousand_labels_in_one_call(log):
    sent = log.record(prediction_rows(10_000), MODEL, "test")
    half = [Label(1, prediction_id=row.prediction_id) for row in sent[:5_000]]
    other = [Label(0, entity_id=row.entity_id) for row in sent[5_000:]]
    assert log.feedback(half + other).recorded == 10_000
    found = true_labels(log)
    assert [found[row.prediction_id] for row in sent] == [1] * 5_000 + [0] * 5_000
