"""`POST /predict`, which does not pass FastAPI's layers, answers as other routes do."""

import pytest
from fastapi.testclient import TestClient

from serving.errors import LogUnavailableError
from serving.web.predictor import Predictor
from tests.support.tiny_model import ROW


@pytest.fixture
def behind_prefix(client):
    """A client of the service behind a proxy that serves it below a path."""
    return TestClient(client.app, root_path="/scores", raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("error", "status"), [(LogUnavailableError("full"), 503), (RuntimeError("a bug"), 500)]
)
def test_errors_are_problems(client, monkeypatch, error, status):
    async def fail(*_):
        raise error

    monkeypatch.setattr(Predictor, "predict", fail)
    answer = client.post("/predict", json=ROW)
    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'route="/predict",status="{status}"' in client.get("/metrics").text


def test_path_of_a_proxy_is_answered(client, behind_prefix):
    (direct,) = client.post("/predict", json=ROW).json()["predictions"]
    (behind,) = behind_prefix.post("/scores/predict", json=ROW).json()["predictions"]
    assert direct["score"] == behind["score"]


def test_other_methods_are_refused(client):
    assert client.get("/predict").status_code == 405
