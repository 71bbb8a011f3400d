"""GET /predictions, and the service without a log."""

import pytest

from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import ROW

pytestmark = pytest.mark.quick


def test_predictions_are_paged_newest_first(client):
    for start in range(5):
        client.post("/predict", json=ROW | {"id": start})
    first = client.get("/predictions?limit=3")
    assert [row["entity_id"] for row in first.json()["predictions"]] == ["4", "3", "2"]
    second = client.get(first.links["next"]["url"])
    assert [row["entity_id"] for row in second.json()["predictions"]] == ["1", "0"]
    assert second.json()["next"] is None
    csv = client.get("/predictions?limit=3", headers={"Accept": "text/csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    header, *lines = csv.text.splitlines()
    assert header.startswith("prediction_id,request_id,row_index,entity_id")
    assert len(lines) == 3


def test_service_without_log_keeps_no_rows(tiny_model, database, monkeypatch):
    monkeypatch.setenv("PREDICTION_LOG", "off")
    with service_in_process(tiny_model) as client:
        assert client.post("/predict", json=ROW).status_code == 200
        assert client.get("/health/ready").status_code == 200
        for answer in (
            client.get("/predictions"),
            client.post("/feedback", json={"labels": [{"id": "a", "label": 1}]}),
        ):
            assert answer.status_code == 503
            assert "turned off" in answer.json()["detail"]
        assert "turned off" in client.get("/").text
    assert not database.exists()
