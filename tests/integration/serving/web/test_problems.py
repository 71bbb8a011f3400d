"""Errors of all routes as problem documents."""

import pytest

from serving.web import predictor
from tests.support.tiny_model import ROW

pytestmark = pytest.mark.quick


def test_errors_are_problem_documents(client, monkeypatch):
    monkeypatch.setattr(predictor, "scored_rows", lambda *_: 1 / 0)
    for answer, status in (
        (client.get("/nowhere"), 404),
        (client.get("/predict"), 405),
        (client.get("/predictions?limit=0"), 422),
        (client.get("/predictions?before=x"), 422),
        (client.post("/predict", json=ROW), 500),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert "Traceback" not in answer.text
        assert "ZeroDivision" not in answer.text
