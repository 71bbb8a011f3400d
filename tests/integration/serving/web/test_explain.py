"""Explanations of `POST /predict`."""

import json
import math
import threading
from dataclasses import replace

import pytest

from serving.model.explanations import Explainer
from serving.model.manifest import Manifest
from serving.web import loading
from tests.support.log_fixtures import logged_rows
from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import COLUMNS, ROW, write_tiny_model

pytestmark = pytest.mark.quick

REFERENCE_ROWS = {"V1": [0.0, 1.0], "gap": [1.0, None]}
KEY = {"Idempotency-Key": "order-1"}


@pytest.fixture(scope="module")
def explaining_model(tmp_path_factory):
    """A tiny model with reference rows."""
    folder = write_tiny_model(tmp_path_factory.mktemp("explaining"))
    scorer = folder / "artifacts" / "scorer"
    replace(Manifest.read(scorer), reference_rows=REFERENCE_ROWS).write(scorer)
    return folder


@pytest.fixture
def explaining_client(explaining_model, database):
    with service_in_process(explaining_model) as client:
        yield client


def test_contributions_add_up_and_are_not_logged(explaining_client, database):
    plain = explaining_client.post("/predict", json=COLUMNS).json()["predictions"]
    answer = explaining_client.post("/predict", json=COLUMNS | {"explain": True})
    predictions = answer.json()["predictions"]
    assert [row["score"] for row in predictions] == [row["score"] for row in plain]
    # The log-odds are 2 V1 - gap, with 0.5 for a missing gap: -1 and 1.5 for the reference rows.
    for row, expected in zip(predictions, [(1.0, -1.25), (-3.0, 0.25), (5.0, 0.75)], strict=True):
        assert row["base"] == pytest.approx(0.25)
        assert list(row["contributions"]) == ["V1", "gap"]
        assert tuple(row["contributions"].values()) == pytest.approx(expected)
        total = row["base"] + sum(row["contributions"].values())
        odds = row["score"] / (1 - row["score"])
        assert total == pytest.approx(math.log(odds), abs=1e-9)
    assert "contributions" not in json.dumps([dict(row) for row in logged_rows(database)])


@pytest.mark.parametrize("value", [False, None, ["a", "b", "c"]])
def test_no_explanation_unless_asked(explaining_client, value):
    (first, *_) = explaining_client.post("/predict", json=COLUMNS | {"explain": value}).json()[
        "predictions"
    ]
    assert list(first) == ["prediction_id", "id", "score", "label"]


BAD = {
    "text": (ROW | {"explain": "true"}, 422, "explain: must be true or false"),
    "number": (ROW | {"explain": 1}, 422, "explain: must be true or false"),
    "too many rows": (
        {"V1": [0] * 21, "gap": [0] * 21, "explain": True},
        413,
        "explain: must have at most 20 rows, has 21",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_request_to_explain_is_rejected(explaining_client, database, name):
    body, status, detail = BAD[name]
    answer = explaining_client.post("/predict", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, "explain")
    assert answer.json()["detail"].startswith(detail)
    assert logged_rows(database) == []


def test_champion_without_reference_rows_says_what_to_do(client, database):
    answer = client.post("/predict", json=ROW | {"explain": True})
    assert answer.status_code == 409
    assert "has no reference rows: train and promote a new one" in answer.json()["detail"]
    assert logged_rows(database) == []
    assert client.post("/predict", json=ROW).status_code == 200


def test_retry_is_explained_by_the_same_version(explaining_client):
    body = ROW | {"explain": True}
    first = explaining_client.post("/predict", json=body, headers=KEY).json()
    assert explaining_client.post("/predict", json=body, headers=KEY).json() == first
    assert "contributions" in first["predictions"][0]


def test_retry_answered_by_another_version_says_so(explaining_client, monkeypatch):
    first = explaining_client.post("/predict", json=ROW, headers=KEY).json()
    champions = explaining_client.app.state.champions
    newer = replace(champions.loaded, model=replace(champions.loaded.model, version="2"))
    monkeypatch.setattr(champions, "_champion", newer)
    again = explaining_client.post("/predict", json=ROW | {"explain": True}, headers=KEY).json()
    assert again.pop("explanations").startswith("omitted: this is the answer to the first attempt")
    assert again == first


def test_others_are_answered_while_one_is_explained(explaining_client, monkeypatch):
    """Two requests to explain wait for each other; a third, without, does not."""
    entered, release, running = threading.Semaphore(0), threading.Event(), []
    explain = Explainer.explain

    def slow(self, rows, scores):
        running.append(1)
        entered.release()
        assert release.wait(10)
        assert len(running) == 1
        running.pop()
        return explain(self, rows, scores)

    monkeypatch.setattr(Explainer, "explain", slow)
    answers = []

    def post():
        answers.append(explaining_client.post("/predict", json=ROW | {"explain": True}))

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert entered.acquire(timeout=10)
        assert explaining_client.post("/predict", json=ROW).status_code == 200
        assert answers == []
    finally:
        release.set()
        for thread in threads:
            thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]


def test_feature_called_explain_stays_a_feature(tmp_path, database):
    folder = write_tiny_model(tmp_path / "model")
    scorer = folder / "artifacts" / "scorer"
    manifest = Manifest.read(scorer)
    features = (replace(manifest.features[0], name="explain"), manifest.features[1])
    replace(manifest, features=features).write(scorer)
    with service_in_process(folder) as client:
        answer = client.post("/predict", json={"explain": 1.0, "gap": 2.0})
        assert answer.json()["predictions"][0]["score"] == 0.5


def test_damaged_reference_rows_never_replace_a_champion(explaining_model, tmp_path):
    folder = write_tiny_model(tmp_path / "model")
    scorer = folder / "artifacts" / "scorer"
    replace(Manifest.read(scorer), reference_rows={"V1": ["x"]}).write(scorer)
    source = loading.resolve(str(folder))
    with pytest.raises(loading.ScorerError, match="reference_rows"):
        loading.load(source, 10)


def test_form_shows_contributions_as_bars(explaining_client):
    page = explaining_client.post("/", data={"V1": "-1", "gap": ""}).text
    assert 'id="explanation"' in page
    assert page.index(">V1<") < page.index("-3.000") < page.index("+0.250")


def test_openapi_documents_explanations(explaining_client):
    content = explaining_client.get("/openapi.json").json()
    body = content["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert all("explain" in form["properties"] for form in body["schema"]["oneOf"])
    answer = content["components"]["schemas"]["Answer"]
    assert {"base", "contributions"} <= answer["properties"].keys() - set(answer["required"])
