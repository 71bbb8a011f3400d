"""POST /predict."""

import gzip
import json

import numpy as np
import pytest

from tests.support.log_fixtures import logged_rows
from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import COLUMNS, JSON_HEADERS, ROW, tiny_model_scores

pytestmark = pytest.mark.quick


def test_predict_scores_and_logs_columns(client, database):
    answer = client.post("/predict", json=COLUMNS)
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    expected = tiny_model_scores(np.array([1, -1, 3.0]), np.array([2, 0.5, 0]))
    np.testing.assert_allclose([row["score"] for row in predictions], expected, rtol=1e-12)
    assert [row["label"] for row in predictions] == [1, 0, 1]
    assert [row["id"] for row in predictions] == ["a", 7, None]
    found = logged_rows(database)
    assert [row["prediction_id"] for row in found] == [p["prediction_id"] for p in predictions]
    assert [row["entity_id"] for row in found] == ["a", "7", None]
    assert json.loads(found[1]["features"]) == {"V1": -1.0, "gap": None}
    assert {row["run_id"] for row in found} == {"abc"}


def test_predict_accepts_single_values(client):
    one = client.post("/predict", json=ROW | {"id": 12}).json()["predictions"]
    (many,) = client.post("/predict", json={"V1": [1], "gap": [2]}).json()["predictions"]
    assert one[0]["score"] == many["score"]
    assert one[0]["id"] == 12


def test_predict_reads_large_body(client, database):
    rows = 5_000
    values = list(range(rows))
    answer = client.post("/predict", json={"V1": [v / rows for v in values], "gap": values})
    predictions = answer.json()["predictions"]
    assert len(predictions) == rows == len(logged_rows(database))
    assert predictions[17]["score"] == pytest.approx(tiny_model_scores(17 / rows, 17), rel=1e-12)


BAD = {
    "empty": (b"", 400, "body: must not be empty"),
    "no JSON": (b"V1=1", 400, "body: must be JSON"),
    "NaN": (b'{"V1": NaN, "gap": 1}', 400, "body: must be JSON"),
    "a list": (b"[1]", 422, "body: must be a JSON object"),
    "no columns": ({}, 422, "V1: is missing; gap: is missing"),
    "missing column": ({"gap": 1}, 422, "V1: is missing"),
    "misspelt column": ({"v1": 1, "gap": 1}, 422, "V1: is missing"),
    "repeated column": (b'{"V1": 1, "gap": 1, "V1": 2}', 422, "V1: must be given once"),
    "nested deeply": (b"[" * 5_000, 400, "body: must be JSON"),
    "gzip": (gzip.compress(b"{}"), 415, "body: must not be compressed, is gzip"),
    "text": (ROW | {"V1": "1.5"}, 422, "V1, row 0: must be a number, not a string"),
    "boolean": (ROW | {"V1": True}, 422, "V1, row 0: must be a number, not a boolean"),
    "object": (ROW | {"V1": {}}, 422, "V1, row 0: must be a number, not an object"),
    "null": (ROW | {"V1": None}, 422, "V1, row 0: must not be null"),
    "text in a list": (
        {"V1": [1, 2, "3"], "gap": [1, 2, 3]},
        422,
        "V1, row 2: must be a number, not a string",
    ),
    "boolean in a list": (
        {"V1": [1, 2], "gap": [1, False]},
        422,
        "gap, row 1: must be a number, not a boolean",
    ),
    "null in a list": ({"V1": [1, None], "gap": [1, 2]}, 422, "V1, row 1: must not be null"),
    "list in a list": ({"V1": [[1]], "gap": [1]}, 422, "V1, row 0: must be a number, not a list"),
    "ragged": ({"V1": [1, 2], "gap": [1]}, 422, "gap: has 1 rows, but V1 has 2"),
    "mixed forms": ({"V1": [1], "gap": 1}, 422, "gap: must be a list, as other columns are"),
    "id too large": (ROW | {"id": 2**64}, 422, "id, row 0: an integer beyond 64 bits must be a st"),
    "no rows": ({"V1": [], "gap": []}, 422, "V1: must have at least one row"),
    "too many rows": (
        {"V1": [0] * 10_001, "gap": [0] * 10_001},
        413,
        "body: must have at most 10000 rows, has 10001: send several requests",
    ),
    "id of another length": (
        {"V1": [1, 2], "gap": [1, 2], "id": ["a"]},
        422,
        "id: must have one value for each of 2 rows",
    ),
    "id a float": (ROW | {"id": 1.5}, 422, "id, row 0: must be a string, an integer or null"),
    "id a boolean": (ROW | {"id": True}, 422, "id, row 0: must be a string, an integer or null"),
    "id empty": (ROW | {"id": ""}, 422, "id, row 0: must not be empty"),
    "id too long": (ROW | {"id": "x" * 256}, 422, "id, row 0: must have at most 255 characters"),
    "id with a zero": (ROW | {"id": "a\0b"}, 422, "id, row 0: must be plain text"),
}


@pytest.mark.parametrize("name", BAD)
def test_predict_rejects_bad_input(client, database, name):
    body, status, detail = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/predict", content=content, headers=JSON_HEADERS)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"].startswith(detail)
    (error, *_) = problem["errors"]
    assert problem["detail"].startswith(error["field"])
    assert logged_rows(database) == []


def test_predict_reports_all_wrong_columns(client):
    problem = client.post("/predict", json={"V1": "a", "gap": "b"}).json()
    assert [(e["field"], e["row"]) for e in problem["errors"]] == [("V1", 0), ("gap", 0)]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_predict_rejects_other_content_types(client, database, content_type):
    answer = client.post("/predict", content=b"{}", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_predict_rejects_too_large_body(tiny_model, database):
    with service_in_process(tiny_model, max_bytes=2_000) as client:
        body = json.dumps(ROW | {"id": "x" * 200}).encode()
        assert client.post("/predict", content=body, headers=JSON_HEADERS).status_code == 200
        for too_large in (b" " * 2_001, iter([b" " * 1_500] * 2)):
            answer = client.post("/predict", content=too_large, headers=JSON_HEADERS)
            assert answer.status_code == 413
            assert answer.json()["detail"] == "body: must have at most 2000 bytes"
    assert len(logged_rows(database)) == 1


def test_idempotency_key_returns_stored_answer(client, database):
    headers = {"Idempotency-Key": "order-1"}
    first = client.post("/predict", json=COLUMNS, headers=headers)
    assert first.status_code == 200
    assert client.post("/predict", json=COLUMNS, headers=headers).json() == first.json()
    other = client.post("/predict", json=ROW, headers=headers)
    assert other.status_code == 409
    assert "order-1" in other.json()["detail"]
    assert len(logged_rows(database)) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "é".encode(), "a\tb"])
def test_invalid_idempotency_key_is_rejected(client, database, key):
    answer = client.post("/predict", json=ROW, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert logged_rows(database) == []
