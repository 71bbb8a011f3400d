"""Methods, headers and bodies of requests, whatever the route."""

import gzip

import pytest

from tests.support.log_fixtures import logged_rows
from tests.support.tiny_model import JSON_HEADERS, ROW

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Host", "X-API-Key", "Content-Type", "Origin", "Sec-Fetch-Site"]
)
def test_repeated_headers_are_rejected(client, database, name):
    headers = [("Content-Type", "application/json"), (name, "a"), (name, "a")]
    answer = client.post("/predict", content=b'{"V1": 1, "gap": 1}', headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["rule"] == "must be sent once, is repeated"
    assert logged_rows(database) == []


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/feedback", "/"])
def test_compressed_bodies_are_rejected(client, path):
    body = gzip.compress(b"{}")
    headers = JSON_HEADERS | {"Content-Encoding": "gzip"}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"] == "Content-Encoding: must not be set, is gzip"


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/feedback"])
def test_other_charsets_are_rejected(client, path):
    headers = {"Content-Type": 'application/json; charset="utf-16"'}
    answer = client.post(path, content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert "charset must be utf-8" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/metrics", "/ping", "/", "/predictions", "/docs"]
)
def test_head_answers_as_get(client, path):
    answer = client.head(path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-type"] == client.get(path).headers["content-type"]


def test_head_of_other_routes_is_rejected(client):
    assert client.head("/predict").status_code == 405


@pytest.mark.parametrize("query", ["limit=1&limit=2", "before=a&before=b"])
def test_repeated_parameters_are_rejected(client, query):
    answer = client.get(f"/predictions?{query}")
    assert answer.status_code == 422
    assert "must be given once" in answer.json()["detail"]


def test_form_rejects_repeated_fields(client, database):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post("/", content="V1=1&gap=1&V1=2", headers=form)
    assert answer.status_code == 422
    assert logged_rows(database) == []


def test_columns_that_are_no_features_are_ignored(client):
    ignored = {"Class": "fraud", "nested": {"a": [{"b": "c: d"}]}}
    assert client.post("/predict", json=ROW | ignored).status_code == 200
    assert client.post("/", data={"V1": "1", "gap": "1", "Class": "1"}).status_code == 200


def test_repeated_names_are_found_at_any_depth(client, database):
    bodies = (
        b'{"V1": 1, "gap": 1, "x": {"y": [{"z": 1, "z": 2}]}}',
        rb'{"V1": 1, "gap": 1, "\u0056\u0031": 2}',
        b'{"V1": 1, "gap": 1, "id": "a:b", "id": "c"}',
    )
    for body in bodies:
        answer = client.post("/predict", content=body, headers=JSON_HEADERS)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["rule"] == "must be given once, is repeated"
    body = b'{"labels": [{"id": "a", "label": 0, "label": 1}]}'
    assert client.post("/feedback", content=body, headers=JSON_HEADERS).status_code == 422
    unique = b'{"V1": 1, "gap": 1, "id": "a:b", "x": "\\":"}'
    assert client.post("/predict", content=unique, headers=JSON_HEADERS).status_code == 200
    assert len(logged_rows(database)) == 1


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/feedback"])
def test_bodies_of_extreme_shape_are_rejected(client, path):
    names = b"{" + b",".join(b'"column%d":1' % i for i in range(10_001)) + b"}"
    values = b'{"V1":[' + b"1," * 1_000_001 + b"1]}"
    for body in (names, values):
        answer = client.post(path, content=body, headers=JSON_HEADERS)
        assert answer.status_code == 413
        assert answer.json()["detail"].startswith("body: must have at most 10")
