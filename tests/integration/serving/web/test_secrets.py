"""Secrets and addresses of the log are not shown to callers."""

import logging

import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.settings import ServiceSettings
from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import ROW

pytestmark = pytest.mark.quick

UNREACHABLE = {
    "query": "postgresql://spy@127.0.0.1:1/ledger?password=hunter2",
    "user": "postgresql://spy:hunter2@127.0.0.1:1/ledger",
    "socket": "postgresql:///ledger?host=/run/cellar&user=spy&password=hunter2",
}
PRIVATE = ("hunter2", "spy", "127.0.0.1", "ledger", "cellar", "postgresql:", "refused", "psycopg")


@pytest.mark.parametrize("form", UNREACHABLE)
def test_callers_see_no_address_of_log(tiny_model, tmp_path, monkeypatch, caplog, form):
    monkeypatch.setenv("PREDICTION_LOG_URI", UNREACHABLE[form])
    monkeypatch.setenv("MLPIPES_SPOOL", str(tmp_path / "spool"))
    with service_in_process(tiny_model) as client:
        keyed = {"Idempotency-Key": "k"}
        answers = {
            "ready": client.get("/health/ready"),
            "predict": client.post("/predict", json=ROW, headers=keyed),
            "invocations": client.post(
                "/invocations", json={"dataframe_records": [ROW], "params": {"request_id": "k"}}
            ),
            "predictions": client.get("/predictions"),
            "feedback": client.post("/feedback", json={"labels": [{"id": "a", "label": 1}]}),
            "page": client.get("/"),
            "metrics": client.get("/metrics"),
        }
    assert answers["ready"].json()["status"] == "degraded"
    assert [answers[name].status_code for name in ("predict", "invocations", "predictions")] == [
        503,
        503,
        503,
    ]
    for name, answer in answers.items():
        shown = answer.text.replace("https://127.0.0.1", "")
        assert not [word for word in PRIVATE if word in shown], (name, answer.text)
    assert "hunter2" not in caplog.text
    assert "prediction log postgresql" in caplog.text


def test_callers_see_no_address_of_registry(database, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://spy:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://spy:hunter2@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = ServiceSettings(model_uri="models:/credit-card-fraud@champion")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for route in ("/health/ready", "/model", "/"):
            shown = client.get(route).text
            assert "spy" not in shown
            assert "127.0.0.1" not in shown
    assert "cannot be loaded" in caplog.text
    assert "hunter2" not in "".join(
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    )
