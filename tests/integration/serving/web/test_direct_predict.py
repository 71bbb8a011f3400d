"""`POST /predict`, which does not pass FastAPI's layers, answers as other routes do."""

import pytest

from serving.errors import LogUnavailableError
from serving.web.predictor import Predictor
from tests.support.service_fixtures import behind_prefix
from tests.support.tiny_model import ROW


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


def test_path_of_a_proxy_is_answered(client):
    (direct,) = client.post("/predict", json=ROW).json()["predictions"]
    answer = behind_prefix(client, "/predict").post("/predict/predict", json=ROW)
    (behind,) = answer.json()["predictions"]
    assert direct["score"] == behind["score"]
    # The root of the service takes forms only.
    assert behind_prefix(client, "/predict").post("/predict", json=ROW).status_code == 415


def test_other_methods_are_refused(client):
    assert client.get("/predict").status_code == 405
