"""A challenger in the shadow of the service: its scores are stored, and never disturb answers."""

import logging
import shutil
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.shadow_predictions import ShadowLog, ShadowPrediction
from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.prediction import ModelIdentity
from serving.web import champions, metrics, shadow
from serving.web.challengers import ChallengerWatch
from serving.web.loading import ResolvedModel, load, resolve
from serving.web.shadow import Shadow
from steps.export.onnx_graphs import linear_graph, write_onnx
from tests.support.log_fixtures import open_prediction_log, prediction_rows
from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import COLUMNS, ROW, tiny_model_scores
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick

CHALLENGER = "models:/fraud@challenger"


class Registry:
    """A registry whose alias `challenger` can be moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.challenger: ResolvedModel | None = None
        monkeypatch.setattr(champions, "resolve", self.resolve)

    def resolve(self, uri: str) -> ResolvedModel | None:
        return self.challenger if uri == CHALLENGER else resolve(uri)

    def move(self, model: Path | None, version: str = "2") -> None:
        identity = ModelIdentity("fraud", version, "run")
        self.challenger = model and ResolvedModel(str(model), identity, {"test_ks": 0.75})


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(shadow, "LINGER_SECONDS", 0.01)
    return Registry(monkeypatch)


@pytest.fixture
def challenger(tiny_model, tmp_path) -> Path:
    """A challenger that scores as the tiny model, but with the opposite sign."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "challenger"))
    graph = linear_graph(np.array([-2.0, 1.0]), 0.0)
    write_onnx(graph, folder / "artifacts" / "scorer", 2, fill=np.array([0.0, 0.5]))
    return folder


@contextmanager
def shadowed_service(model):
    with service_in_process(model, shadow=CHALLENGER, poll_seconds=0.02) as client:
        yield client


def shadow_rows(database):
    with closing(sqlite3.connect(database)) as connection:
        return {
            row[0]: row[1:]
            for row in connection.execute(
                "SELECT prediction_id, model_version, score, label FROM shadow_predictions"
            )
        }


def described(client):
    return client.get("/model").json()["shadow"]


def dropped(reason):
    return metrics.SHADOW_DROPPED.labels(reason)._value.get()


def test_challenger_scores_each_request_once(tiny_model, challenger, registry, database):
    registry.move(challenger)
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"] == "2")
        for _ in range(2):  # the retry is answered, but not scored again
            answer = client.post("/predict", json=COLUMNS, headers={"Idempotency-Key": "a"})
        page = client.get("/").text
        exposition = client.get("/metrics").text
    expected = 1 - tiny_model_scores(np.array(COLUMNS["V1"]), np.array([2.0, 0.5, 0.0]))
    ids = [row["prediction_id"] for row in answer.json()["predictions"]]
    stored = shadow_rows(database)
    assert list(stored) == ids
    assert [row[0] for row in stored.values()] == ["2"] * 3
    np.testing.assert_allclose([row[1] for row in stored.values()], expected)
    assert [row[2] for row in stored.values()] == [int(score >= 0.5) for score in expected]
    assert "version 2" in page
    assert "0.75" in page
    assert "mlpipes_shadow_version 2.0" in exposition


def test_challenger_is_followed_and_withdrawn(tiny_model, challenger, registry, database, caplog):
    with caplog.at_level(logging.WARNING), shadowed_service(tiny_model) as client:
        wait_until(lambda: "shadow: no version is models:/fraud@challenger" in caplog.text)
        assert described(client)["version"] is None
        registry.move(challenger, "3")
        wait_until(lambda: described(client)["version"] == "3")
        registry.move(None)
        wait_until(lambda: described(client)["version"] is None)
        assert client.post("/predict", json=ROW).status_code == 200
        assert described(client)["trouble"] is None
    assert len([line for line in caplog.messages if "no version is" in line]) == 2


def test_version_that_is_not_registered_is_named(tiny_model, registry, database):
    uri = "models:/fraud/7"
    with service_in_process(tiny_model, shadow=uri, poll_seconds=0.02) as client:
        wait_until(lambda: described(client)["trouble"])
        assert described(client)["trouble"] == "models:/fraud/7 is not registered"


def test_alias_of_another_model_is_named_although_it_has_no_version(tiny_model, tmp_path):
    champion = load(ResolvedModel(str(tiny_model), ModelIdentity("fraud", "1", "run")), 100)
    watch = ChallengerWatch("models:/freud@challenger", 5.0, 100)
    with closing(ShadowLog(f"sqlite:///{tmp_path}/log.db")) as log:
        trouble = Shadow(watch, log).trouble(champion)
    assert trouble == (
        "models:/freud@challenger is refused: it is not a version of the served model, fraud"
    )


def test_challenger_of_other_features_is_refused(
    tiny_model, challenger, registry, database, caplog
):
    scorer = challenger / "artifacts" / "scorer"
    manifest = Manifest.read(scorer)
    replace(manifest, features=(Feature("V1"), Feature("V9", nullable=True))).write(scorer)
    registry.move(challenger)
    before = dropped("refused")
    with caplog.at_level(logging.WARNING), shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        for _ in range(3):
            assert client.post("/predict", json=ROW).status_code == 200
            time.sleep(0.05)
        wait_until(lambda: dropped("refused") == before + 3)
        assert "features differ from the champion's: V9" in described(client)["trouble"]
        assert "features differ" in client.get("/").text
    assert len([line for line in caplog.messages if "is refused" in line]) == 1


def test_row_that_only_the_champion_accepts_is_dropped_alone(
    tiny_model, challenger, registry, database
):
    scorer = challenger / "artifacts" / "scorer"
    replace(Manifest.read(scorer), features=(Feature("V1"), Feature("gap"))).write(scorer)
    registry.move(challenger)
    before = dropped("invalid")
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        client.post("/predict", json=COLUMNS)
    assert dropped("invalid") == before + 1
    assert len(shadow_rows(database)) == 2


def test_full_queue_drops_rows_and_no_answer(
    tiny_model, challenger, registry, database, monkeypatch
):
    monkeypatch.setattr(shadow, "MAX_WAITING_ROWS", 4)
    released = threading.Event()
    write = ShadowLog.write
    monkeypatch.setattr(ShadowLog, "write", lambda *given: released.wait(30) and write(*given))
    registry.move(challenger)
    before = dropped("queue_full")
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        assert [client.post("/predict", json=COLUMNS).status_code for _ in range(6)] == [200] * 6
        wait_until(lambda: dropped("queue_full") > before)
        lost = dropped("queue_full") - before
        released.set()
    assert len(shadow_rows(database)) == 18 - lost


def test_end_of_service_is_bounded(tiny_model, challenger, registry, database, monkeypatch, caplog):
    monkeypatch.setattr(shadow, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(shadow, "STORED_ROWS", 1)
    monkeypatch.setattr(ShadowLog, "write", lambda *_: time.sleep(0.08))
    registry.move(challenger)
    before = dropped("closing")
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        client.post("/predict", json={"V1": [1.0] * 50, "gap": [0.0] * 50})
        start = time.monotonic()
    assert time.monotonic() - start < 3
    assert dropped("closing") > before
    assert "waiting rows were dropped" in caplog.text


def test_failing_challenger_is_reported_once(
    tiny_model, challenger, registry, database, monkeypatch, caplog
):
    registry.move(challenger)
    before = dropped("not_scored")
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        with monkeypatch.context() as broken:
            broken.setattr(client.app.state.shadow.challenger.scorer, "_runtime", None)
            for lost in (1, 2):
                assert client.post("/predict", json=ROW).status_code == 200
                wait_until(lambda lost=lost: dropped("not_scored") == before + lost)
            assert "cannot score" in described(client)["trouble"]
        registry.move(None)
        wait_until(lambda: described(client)["version"] is None)
        assert described(client)["trouble"] is None
        registry.move(challenger)
        wait_until(lambda: described(client)["version"])
        client.post("/predict", json=ROW)
        wait_until(lambda: described(client)["trouble"] is None)
    assert len([line for line in caplog.messages if "cannot score" in line]) == 1


def test_unwritable_log_fails_no_answer(tiny_model, challenger, registry, database, monkeypatch):
    def fail(*_):
        raise sa.exc.OperationalError("INSERT", {}, Exception("disk full"))

    monkeypatch.setattr(ShadowLog, "write", fail)
    registry.move(challenger)
    before = dropped("not_stored")
    with shadowed_service(tiny_model) as client:
        wait_until(lambda: described(client)["version"])
        assert client.post("/predict", json=ROW).status_code == 200
        wait_until(lambda: dropped("not_stored") == before + 1)
        assert "cannot be stored" in described(client)["trouble"]
        assert "disk full" not in client.get("/model").text


def test_service_without_log_has_no_shadow(tiny_model, registry, database, monkeypatch, caplog):
    monkeypatch.setenv("PREDICTION_LOG", "off")
    with shadowed_service(tiny_model) as client:
        assert described(client) is None
    assert "MLPIPES_SHADOW: ignored" in caplog.text


def test_table_is_added_to_a_log_without_it(uri, spool):
    """As one of an earlier release; a repeated row is left as it is."""
    with open_prediction_log(uri) as log:
        (row,) = prediction_rows(1)
        log.record([row], ModelIdentity("fraud", "1", "run"), "test")
    engine = connect(uri)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE shadow_predictions"))
    written = ShadowPrediction(row.prediction_id, "2", 0.25, 0, datetime.now(UTC))
    log = ShadowLog(uri)
    try:
        log.write([written])
        log.write([replace(written, score=0.5)])
    finally:
        log.close()
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT score FROM shadow_predictions")).scalars().all()
    engine.dispose()
    assert found == [0.25]
