"""POST /feedback."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.tiny_model import COLUMNS, JSON_HEADERS, ROW

pytestmark = pytest.mark.quick


def test_feedback_is_joined_to_predictions(client):
    given = client.post("/predict", json=COLUMNS).json()["predictions"]
    labels = [
        {"prediction_id": given[0]["prediction_id"], "label": 1},
        {
            "id": 7,
            "label": 0,
            "observed_at": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(),
        },
        {"id": "nobody", "label": 1},
        {"id": "a", "label": 0, "observed_at": "2000-01-01T00:00:00Z"},
    ]
    answer = client.post("/feedback", json={"labels": labels})
    assert answer.json() == {"recorded": 2, "unknown": ["nobody", "a"]}
    rows = client.get("/predictions").json()["predictions"]
    assert [row["true_label"] for row in rows] == [None, 0, 1]


BAD_LABELS = {
    "no JSON": (b"{", 400, "body"),
    "no labels": (b'{"labels": []}', 422, "labels"),
    "2": (b'{"labels": [{"id": "a", "label": 2}]}', 422, "labels[0].label"),
    "true": (b'{"labels": [{"id": "a", "label": true}]}', 422, "labels[0].label"),
    "text": (b'{"labels": [{"id": "a", "label": "1"}]}', 422, "labels[0].label"),
    "no id": (b'{"labels": [{"label": 1}]}', 422, "labels[0]"),
    "two ids": (b'{"labels": [{"id": "a", "prediction_id": "b", "label": 1}]}', 422, "labels[0]"),
    "no zone": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "2026-01-01T00:00:00"}]}',
        422,
        "labels[0].observed_at",
    ),
    "far east of year 1": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "0001-01-01T00:00:00+14:00"}]}',
        422,
        "labels[0].observed_at",
    ),
    "far west of year 9999": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "9999-12-31T23:59:59-12:00"}]}',
        422,
        "labels[0].observed_at",
    ),
    "future": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "2999-01-01T00:00:00Z"}]}',
        422,
        "labels[0].observed_at",
    ),
    "time as number": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "1700000000"}]}',
        422,
        "labels[0].observed_at",
    ),
    "repeated member": (b'{"labels": [{"id": "a", "label": 1, "label": 0}]}', 422, "label"),
    "id a float": (b'{"labels": [{"id": 1.5, "label": 1}]}', 422, "labels[0].id"),
    "id empty": (b'{"labels": [{"id": "", "label": 1}]}', 422, "labels[0].id"),
    "id with a zero": (rb'{"labels": [{"id": "\u0000", "label": 1}]}', 422, "labels[0].id"),
    "prediction id a number": (
        b'{"labels": [{"prediction_id": 5, "label": 1}]}',
        422,
        "labels[0].prediction_id",
    ),
    "no label": (b'{"labels": [{"id": "a"}]}', 422, "labels[0].label"),
    "no object": (b'{"labels": [1]}', 422, "labels[0]"),
    "a list": (b"[]", 422, "labels"),
    "another member": (b'{"labels": [{"id": "a", "label": 1}], "x": 1}', 422, "x"),
    "nested deeply": (b'{"labels":' + b"[" * 5_000, 400, "body"),
    "another field": (b'{"labels": [{"id": "a", "label": 1, "x": 1}]}', 422, "labels[0].x"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_invalid_feedback_is_rejected(client, name):
    client.post("/predict", json=ROW | {"id": "a"})
    body, status, field = BAD_LABELS[name]
    answer = client.post("/feedback", content=body, headers=JSON_HEADERS)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["field"] == field
    assert client.get("/predictions").json()["predictions"][0]["true_label"] is None


RULES = {
    "long id": ({"id": "x" * 256, "label": 1}, "must have at most 255 characters"),
    "large id": ({"id": 2**64, "label": 1}, "an integer beyond 64 bits must be a string"),
    "id a list": ({"id": [1], "label": 1}, "must be a string, an integer or null"),
    "label a text": ({"id": "a", "label": "1"}, "must be 0 or 1"),
    "no label": ({"id": "a"}, "is missing"),
    "no id": ({"label": 1}, "give either prediction_id or id"),
}


@pytest.mark.parametrize("name", RULES)
def test_feedback_names_the_broken_rule(client, name):
    label, rule = RULES[name]
    answer = client.post("/feedback", json={"labels": [{"id": "b", "label": 1}, label]})
    (error,) = answer.json()["errors"]
    assert error["rule"] == rule
    assert error["field"].startswith("labels[1]")


def test_feedback_reports_the_first_invalid_labels(client):
    answer = client.post("/feedback", json={"labels": [{"id": 1.5, "label": 2}] * 1_000})
    assert len(answer.json()["errors"]) == 20
