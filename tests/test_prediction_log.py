"""The prediction log on real databases: SQLite files and a PostgreSQL server."""

import asyncio
import json
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import InputError, LogUnavailableError, RequestConflictError
from serving.prediction import ModelIdentity, Prediction, prediction_ids
from serving.prediction_log import PredictionLog, features_are_logged, logging_is_on
from tests.log_fixtures import MODEL, ids, opened, rows, stored

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]


def test_every_column_is_stored(log, uri):
    sent = rows(3)
    assert log.record(sent, MODEL, "test") is sent
    found = stored(uri)
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
    assert len(stored(uri)) == 3


@pytest.mark.parametrize("other", [rows(3, "r1", shift=1.0), rows(2, "r1"), rows(4, "r1")])
def test_the_same_id_with_other_content_is_refused_and_leaves_nothing(log, uri, other):
    log.record(rows(3, "r1"), MODEL, "test", "r1")
    with pytest.raises(RequestConflictError, match="r1"):
        log.record(other, MODEL, "test", "r1")
    assert len(stored(uri)) == 3


def test_the_same_request_id_at_another_model_is_another_request(log, uri):
    log.record(rows(3, "r1"), MODEL, "test", "r1")
    other = ModelIdentity("churn", "1", "run")
    mine = [
        replace(row, prediction_id=prediction_id, score=0.9)
        for row, prediction_id in zip(rows(3, "r1"), prediction_ids(3, "r1", "churn"), strict=True)
    ]
    assert log.record(mine, other, "test", "r1") == mine
    assert len(stored(uri)) == 6


def test_attempts_at_the_same_time_answer_the_same(log, uri):
    start = threading.Barrier(8)

    def attempt(score: float) -> list[Prediction]:
        mine = [replace(row, score=score) for row in rows(20, "r1")]
        start.wait()
        return log.record(mine, MODEL, "test", "r1")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, [0.1 * i for i in range(8)]))
    assert all(answer == answers[0] for answer in answers)
    assert len(stored(uri)) == 20


def test_many_threads_lose_nothing(log, uri):
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: log.record(rows(5), MODEL, "test"), range(40)))
    expected = sorted(row.prediction_id for answer in sent for row in answer)
    assert [row["prediction_id"] for row in stored(uri)] == expected


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


def test_a_log_that_cannot_be_opened_says_so(tmp_path, postgres_uri):
    wrong = {
        "no url": "not a database URL",
        "mssql://server/log": "use a sqlite",
        "sqlite://": "needs a file",
        f"sqlite:///{tmp_path}/none/log.db": "unable to open",
        postgres_uri.replace("/log?", "/none?"): "does not exist",
    }
    for uri, reason in wrong.items():
        with pytest.raises(LogUnavailableError, match=reason) as caught:
            PredictionLog(uri)
        assert "\n" not in str(caught.value)


def test_a_password_is_never_shown():
    with opened("postgresql://me:secret@127.0.0.1:1/log") as log:
        assert log.status().degraded
        assert "secret" not in log.status().reason


def test_what_fits_nowhere_is_not_answered_and_hinders_nobody(log, uri):
    nan = [replace(row, score=None) for row in rows(1)]
    with ThreadPoolExecutor(9) as pool:
        bad = pool.submit(log.record, nan, MODEL, "test")
        good = [pool.submit(log.record, rows(2), MODEL, "test") for _ in range(8)]
        assert all(len(answer.result()) == 2 for answer in good)
        with pytest.raises(LogUnavailableError, match="cannot be written"):
            bad.result()
    assert len(stored(uri)) == 16
    assert not log.status().degraded


def test_a_conflict_in_a_group_fails_alone(log, uri):
    log.record(rows(1, "r1"), MODEL, "test", "r1")

    async def together():
        one = log.record_async(rows(1, "r1", shift=1.0), MODEL, "test", "r1")
        others = [log.record_async(rows(1, f"k{i}"), MODEL, "test", f"k{i}") for i in range(9)]
        return await asyncio.gather(one, *others, return_exceptions=True)

    conflict, *answers = asyncio.run(together())
    assert isinstance(conflict, RequestConflictError)
    assert [len(answer) for answer in answers] == [1] * 9
    assert len(stored(uri)) == 10


@pytest.mark.parametrize("key", ["x" * 256, "a\0b", "\ud800"])
def test_a_key_that_cannot_be_stored_is_the_callers_fault(log, uri, key):
    with pytest.raises(InputError, match="request_id"):
        log.record(rows(1), MODEL, "test", key)
    with pytest.raises(InputError, match="id, row 0"):
        log.record([replace(row, entity_id=key) for row in rows(1)], MODEL, "test")
    assert stored(uri) == []


def test_features_can_be_left_out(uri, monkeypatch):
    monkeypatch.setenv("MLPIPES_LOG_FEATURES", "off")
    with opened(uri) as log:
        first = log.record(rows(3, "r1"), MODEL, "test", "r1")
        log.record(rows(1), MODEL, "test")
        again = log.record(rows(3, "r1"), MODEL, "test", "r1")
        assert [row.prediction_id for row in again] == [row.prediction_id for row in first]
        with pytest.raises(RequestConflictError):
            log.record(rows(3, "r1", shift=1.0), MODEL, "test", "r1")
        assert log.page().predictions[0].features is None
    assert {row["features"] for row in stored(uri)} == {None}


@pytest.mark.parametrize(
    ("variable", "is_on"),
    [("PREDICTION_LOG", logging_is_on), ("MLPIPES_LOG_FEATURES", features_are_logged)],
)
def test_what_is_neither_on_nor_off_is_refused(monkeypatch, variable, is_on):
    for setting, on in {"": True, "on": True, "OFF": False}.items():
        monkeypatch.setenv(variable, setting)
        assert is_on() is on
    monkeypatch.setenv(variable, "false")
    with pytest.raises(LogUnavailableError, match=f"{variable} must be on or off, not 'false'"):
        is_on()


def test_closing_finishes_what_was_accepted_and_takes_no_more(uri):
    log = PredictionLog(uri)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(log.record, rows(5), MODEL, "test") for _ in range(40)]
        sent[0].result()
        log.close()
        answered = [future.result() for future in sent if future.exception() is None]
    assert sorted(row.prediction_id for answer in answered for row in answer) == ids(uri)
    with pytest.raises(LogUnavailableError, match="closed"):
        log.record(rows(1), MODEL, "test")


def test_pages_go_from_the_newest_to_the_oldest(log):
    for i in range(5):
        log.record(rows(2, f"r{i}" if i % 2 else None), MODEL, "test", f"r{i}" if i % 2 else None)
    found, cursor = [], None
    while True:
        page = log.page(cursor, limit=3)
        found += page.predictions
        if (cursor := page.next) is None:
            break
    assert len({row.prediction_id for row in found}) == len(found) == 10
    assert [row.created_at for row in found] == sorted((r.created_at for r in found), reverse=True)
    assert found[0].created_at.utcoffset() == timedelta(0)
    with pytest.raises(InputError, match="cursor"):
        log.page("yesterday")


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
    assert len(stored(uri)) == 4
    for log in logs:
        log.close()


def test_relative_sqlite_path_is_made_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREDICTION_LOG_URI", raising=False)
    PredictionLog().close()
    assert Path("predictions.db").is_file()
