"""GET /model and the OpenAPI document."""

import json

import pytest

from tests.support.project import TWO_ROWS_FILE, TWO_ROWS_SPLIT_FILE

pytestmark = pytest.mark.quick


def test_model_describes_champion(client):
    model = client.get("/model").json()
    gap = model["features"][1]
    assert (gap["name"], gap["kind"], gap["nullable"]) == ("gap", "number", True)
    assert (model["kind"], model["threshold"], model["run_id"]) == ("onnx", 0.5, "abc")
    assert model["threshold_rule"] == "cost=500:10"
    ready = client.get("/health/ready").json()
    assert (ready["status"], ready["reason"]) == ("ready", None)


def test_openapi_documents_all_fields_of_the_model(client):
    document = client.get("/openapi.json").json()
    described = document["components"]["schemas"]["ChampionDescription"]["properties"]
    assert described.keys() == client.get("/model").json().keys()


def test_openapi_names_features(client):
    document = client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    columns, row = body["schema"]["oneOf"]
    assert columns["required"] == row["required"] == ["V1", "gap"]
    example = body["examples"]["two rows"]["value"]
    assert client.post("/predict", json=example).status_code == 200


def test_example_equals_mlflow_example():
    columns = json.loads(TWO_ROWS_FILE.read_text())
    split = json.loads(TWO_ROWS_SPLIT_FILE.read_text())["dataframe_split"]
    assert list(columns) == split["columns"]
    assert [list(row) for row in zip(*columns.values(), strict=True)] == split["data"]
