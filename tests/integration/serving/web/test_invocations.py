"""MLflow's scoring protocol."""

import json

import pytest

from tests.support.log_fixtures import logged_rows
from tests.support.tiny_model import JSON_HEADERS, tiny_model_scores

pytestmark = pytest.mark.quick

INVOCATIONS = {
    "split": {"dataframe_split": {"columns": ["V1", "gap", "id"], "data": [[1.0, 2.0, "a"]]}},
    "records": {"dataframe_records": [{"V1": 1.0, "gap": 2.0, "id": "a"}]},
    "instances": {"instances": [{"V1": 1.0, "gap": 2.0, "id": "a"}]},
    "inputs": {"inputs": {"V1": [1.0], "gap": [2.0], "id": ["a"]}},
}


@pytest.mark.parametrize("form", INVOCATIONS)
def test_invocations_accepts_every_json_form(client, database, form):
    answer = client.post("/invocations", json=INVOCATIONS[form])
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert sorted(prediction) == ["label", "prediction_id", "score"]
    assert prediction["score"] == pytest.approx(tiny_model_scores(1, 2), rel=1e-12)
    (row,) = logged_rows(database)
    assert (row["entity_id"], row["prediction_id"]) == ("a", prediction["prediction_id"])


def test_invocations_accepts_csv(client, database):
    csv = "V1,gap,id\n1.0,2.0,a\n1.0,,b\n"
    answer = client.post("/invocations", content=csv, headers={"Content-Type": "text/csv"})
    assert [p["label"] for p in answer.json()["predictions"]] == [1, 1]
    assert [row["entity_id"] for row in logged_rows(database)] == ["a", "b"]
    assert client.get("/ping").status_code == 200
    assert client.get("/version").text[0].isdigit()


def test_invocations_request_id_returns_stored_answer(client, database):
    body = INVOCATIONS["split"] | {"params": {"request_id": "r"}}
    first = client.post("/invocations", json=body)
    assert client.post("/invocations", json=body).json() == first.json()
    other = INVOCATIONS["split"] | {"params": {"request_id": "r"}}
    other["dataframe_split"] = {"columns": ["V1", "gap"], "data": [[5.0, 5.0]]}
    conflict = client.post("/invocations", json=other)
    assert conflict.status_code == 409
    assert conflict.json()["error_code"] == "RESOURCE_CONFLICT"
    assert len(logged_rows(database)) == 1


def records(**values):
    return json.dumps({"dataframe_records": [{"V1": 1.0, "gap": 1.0} | values]}).encode()


def split(columns, *rows):
    return json.dumps({"dataframe_split": {"columns": columns, "data": rows}}).encode()


ID_RULE = "id, row 0: must be a string, an integer or null"
BAD_INVOCATIONS = {
    "no JSON": (b"{", "must be JSON"),
    "nested deeply": (b'{"inputs":' * 5_000, "must be JSON"),
    "two forms": (json.dumps(INVOCATIONS["split"] | INVOCATIONS["records"]).encode(), "exactly"),
    "no form": (b"{}", "exactly one of dataframe_split"),
    "missing column": (b'{"dataframe_records": [{"gap": 1.0}]}', "V1: is missing"),
    "missing once": (
        b'{"dataframe_records": [{"V1": 1, "gap": 1}, {"V1": 1}]}',
        "gap, row 1: is missing",
    ),
    "repeated name": (b'{"inputs": {"V1": 1, "gap": 1, "V1": 2}}', "V1: must be given once"),
    "repeated column": (
        split(["V1", "gap", "gap"], [1, 2, 3]),
        "gap: must be given once, is a duplicate column name",
    ),
    "long row": (
        split(["V1", "gap"], [1, 2], [1, 2, 3]),
        "dataframe_split.data, row 1: has 3 values, but there are 2 columns",
    ),
    "short row": (split(["V1", "gap"], [1, 2], [1]), "row 1: has 1 values"),
    "text": (records(V1="x"), "V1, row 0: must be a number"),
    "number in quotes": (records(V1="1.5"), "V1, row 0: must be a number, not a string, '1.5'"),
    "boolean": (records(V1=True), "V1, row 0: must be a number, not a boolean"),
    "null": (records(V1=None), "V1, row 0: must not be null"),
    "id a float": (records(id=5.5), ID_RULE),
    "id a boolean": (records(id=True), ID_RULE),
    "id a list": (records(id=[1]), ID_RULE),
    "id an object": (records(id={}), ID_RULE),
    "request id a number": (
        json.dumps(INVOCATIONS["split"] | {"params": {"request_id": 5}}).encode(),
        "params.request_id: must be a string",
    ),
    "no rows": (split(["V1", "gap"]), "V1: must have at least one row"),
}


@pytest.mark.parametrize("name", BAD_INVOCATIONS)
def test_invocations_rejects_bad_input(client, database, name):
    body, reason = BAD_INVOCATIONS[name]
    answer = client.post("/invocations", content=body, headers=JSON_HEADERS)
    assert answer.status_code == 400
    content = answer.json()
    assert reason in content["message"]
    assert content["error_code"]
    assert "Traceback" not in answer.text
    assert logged_rows(database) == []


def test_invocations_rejects_too_many_rows(client, database):
    columns = {"V1": [0.0] * 10_001, "gap": [0.0] * 10_001}
    lines = b"V1,gap\n" + b"0,0\n" * 10_001
    for answer in (
        client.post("/invocations", json={"inputs": columns}),
        client.post("/invocations", content=lines, headers={"Content-Type": "text/csv"}),
    ):
        assert answer.status_code == 413
        assert "at most 10000 rows" in answer.json()["message"]
    assert logged_rows(database) == []


@pytest.mark.parametrize("content_type", ["Application/JSON", "application/json;charset=UTF-8"])
def test_invocations_accepts_spellings_of_content_type(client, content_type):
    body = json.dumps(INVOCATIONS["split"])
    answer = client.post("/invocations", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200


def test_invocations_ignores_columns_that_are_no_features(client):
    rows = [{"V1": 1.0, "gap": 2.0, "Class": "x"}, {"V1": 1.0, "gap": 2.0}]
    assert client.post("/invocations", json={"dataframe_records": rows}).status_code == 200


KEY = "Idempotency-Key"


def test_invocations_key_returns_stored_answer(client, database):
    csv = {"content": "V1,gap\n1,2\n", "headers": {"Content-Type": "text/csv", KEY: "a"}}
    first = client.post("/invocations", **csv)
    assert client.post("/invocations", **csv).json() == first.json()
    same = INVOCATIONS["split"] | {"params": {"request_id": "b"}}
    keyed = client.post("/invocations", json=same, headers={KEY: "b"})
    assert client.post("/invocations", json=same).json() == keyed.json()
    unnamed = client.post("/invocations", json=INVOCATIONS["split"], headers={KEY: "b"})
    assert unnamed.json() == keyed.json()
    assert len(logged_rows(database)) == 2


def test_invocations_rejects_two_request_ids(client, database):
    body = INVOCATIONS["split"] | {"params": {"request_id": "a"}}
    answer = client.post("/invocations", json=body, headers={KEY: "b"})
    assert answer.status_code == 400
    assert "must equal the header Idempotency-Key" in answer.json()["message"]
    assert logged_rows(database) == []


def test_invocations_rejects_other_content_types(client):
    for content_type in ("text/plain", "application/vnd.apache.parquet"):
        answer = client.post("/invocations", content=b"", headers={"Content-Type": content_type})
        assert answer.status_code == 415
