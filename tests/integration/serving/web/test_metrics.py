"""GET /metrics and GET /health/ready."""

import pytest

from serving.log.spool import Spool
from tests.support.log_fixtures import MODEL, logged_rows, open_prediction_log, prediction_rows
from tests.support.tiny_model import COLUMNS, ROW
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick


def test_metrics_count_requests_and_rows(client):
    def value(name):
        for line in client.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    names = (
        'mlpipes_requests_total{route="/predict",status="200"}',
        'mlpipes_requests_total{route="/predict",status="422"}',
        'mlpipes_request_seconds_count{route="/predict"}',
        "mlpipes_rows_logged_total",
        "mlpipes_score_count",
    )
    before = [value(name) for name in names]
    client.post("/predict", json=COLUMNS)
    client.post("/predict", json={})
    after = [value(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 2, 3, 3]
    frame = {"dataframe_records": [ROW], "params": {"request_id": "order-2"}}
    for _ in range(2):  # a retry is answered again, but logged and counted once
        client.post("/predict", json=COLUMNS, headers={"Idempotency-Key": "order-1"})
        client.post("/invocations", json=frame)
    retried = [value(name) for name in names]
    assert [b - a for a, b in zip(after, retried, strict=True)] == [2, 0, 2, 4, 8]
    assert value("mlpipes_spool_rows") == value("mlpipes_log_degraded") == 0


def test_health_is_degraded_while_spool_holds_rows(client, database, monkeypatch):
    """Also when the log is back, and they are not all moved yet."""

    def ready():
        return client.get("/health/ready").json()

    with monkeypatch.context() as stuck:
        stuck.setattr(Spool, "move", lambda *_: 0)
        (file,) = (database.parent / "spool").glob("*.db")
        with open_prediction_log(f"sqlite:///{file}") as spool:  # it has the tables of a log
            spool.record(prediction_rows(2), MODEL, "test")
        wait_until(lambda: ready()["spooled"])
        answer = ready()
        assert (answer["status"], answer["spooled"]) == ("degraded", 2)
        assert "moved from the spool" in answer["reason"]
        assert "Degraded: predictions are being moved" in client.get("/").text
        assert "mlpipes_log_degraded 1.0" in client.get("/metrics").text
    wait_until(lambda: not ready()["spooled"])
    assert (ready()["status"], ready()["reason"]) == ("ready", None)
    assert len(logged_rows(database)) == 2
