"""Prediction log on real databases: SQLite files and a PostgreSQL server."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from serving.errors import InputError, LogUnavailableError, RequestConflictError
from serving.log import row_counts
from serving.log.prediction_log import PredictionLog
from serving.log.queries import Counts
from serving.model.prediction import ModelIdentity, Prediction
from serving.model.prediction_ids import prediction_ids
from steps.runtime.mlproject import PROJECT
from tests.support.log_fixtures import (
    MODEL,
    open_prediction_log,
    prediction_rows,
    stored_ids,
    stored_rows,
)

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]


def test_record_stores_every_column(log, uri):
    sent = prediction_rows(3)
    assert log.record(sent, MODEL, "test") is sent
    found = stored_rows(uri)
    assert [row["prediction_id"] for row in found] == [row.prediction_id for row in sent]
    last = found[-1]
    assert last["entity_id"] == "card-2"
    assert last["score"] == 0.5
    assert (last["label"], last["threshold"]) == (1, 0.5)
    assert (last["model_name"], last["model_version"], last["run_id"]) == ("fraud", "3", "run")
    assert last["features"] == {"V1": 2.0, "V2": None}
    assert last["source"] == "test"


def test_values_are_stored_exactly(log, uri):
    """In requests of one row and of several statements."""
    random = np.random.default_rng(0)
    values = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 2**53, "", "null", 'Zoë\\n"ß" 👍']
    values += random.normal(size=1_200).tolist()
    sent = [
        replace(row, entity_id=f"Zoë \\ {row.row_index}", score=score, features={"β": value})
        for row, score, value in zip(
            prediction_rows(len(values)), random.random(len(values)).tolist(), values, strict=True
        )
    ]
    alone = replace(sent[0], prediction_id="f" * 36, entity_id=None)
    log.record(sent, MODEL, "test")
    log.record([alone], MODEL, "test")
    found = stored_rows(uri)
    names = ("prediction_id", "entity_id", "row_index", "score", "features")
    for name in names:
        expected = [getattr(row, name) for row in [*sent, alone]]
        assert [row[name] for row in found] == expected, name
    assert len({row["created_at"] for row in found[:-1]}) == 1


def test_large_requests_need_no_temporary_file(sqlite_uri, tmp_path):
    """In a process of its own, as SQLite reads SQLITE_TMPDIR once."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = temporary.stat().st_mtime_ns
    program = (
        "from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows\n"
        f"with open_prediction_log({sqlite_uri!r}) as log:\n"
        "    log.record(prediction_rows(1000), MODEL, 'test')\n"
    )
    settings = os.environ | {"SQLITE_TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", program], env=settings, cwd=PROJECT, check=True)
    assert len(stored_rows(sqlite_uri)) == 1000
    assert temporary.stat().st_mtime_ns == before


def test_retry_returns_stored_answer(log, uri):
    first = prediction_rows(3, "r1")
    log.record(first, MODEL, "test", "r1")
    rescored = [replace(row, score=0.99) for row in prediction_rows(3, "r1")]
    restarted = PredictionLog(uri)
    assert restarted.record(rescored, MODEL, "test", "r1") == first
    restarted.close()
    assert len(stored_rows(uri)) == 3


@pytest.mark.parametrize(
    "other",
    [prediction_rows(3, "r1", shift=1.0), prediction_rows(2, "r1"), prediction_rows(4, "r1")],
)
def test_request_id_with_other_content_conflicts(log, uri, other):
    log.record(prediction_rows(3, "r1"), MODEL, "test", "r1")
    with pytest.raises(RequestConflictError, match="r1"):
        log.record(other, MODEL, "test", "r1")
    assert len(stored_rows(uri)) == 3


def test_request_id_is_per_model(log, uri):
    log.record(prediction_rows(3, "r1"), MODEL, "test", "r1")
    other = ModelIdentity("churn", "1", "run")
    mine = [
        replace(row, prediction_id=prediction_id, score=0.9)
        for row, prediction_id in zip(
            prediction_rows(3, "r1"), prediction_ids(3, "r1", "churn"), strict=True
        )
    ]
    assert log.record(mine, other, "test", "r1") == mine
    assert len(stored_rows(uri)) == 6


def test_concurrent_attempts_get_same_answer(log, uri):
    start = threading.Barrier(8)

    def attempt(score: float) -> list[Prediction]:
        mine = [replace(row, score=score) for row in prediction_rows(20, "r1")]
        start.wait()
        return log.record(mine, MODEL, "test", "r1")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, [0.1 * i for i in range(8)]))
    assert all(answer == answers[0] for answer in answers)
    assert len(stored_rows(uri)) == 20


def test_concurrent_threads_lose_no_row(log, uri):
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: log.record(prediction_rows(5), MODEL, "test"), range(40)))
    expected = sorted(row.prediction_id for answer in sent for row in answer)
    assert [row["prediction_id"] for row in stored_rows(uri)] == expected


def test_sqlite_commits_are_durable(tmp_path):
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    with log._engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert raw.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    log.close()


def test_features_are_readable_in_sql(tmp_path):
    file = tmp_path / "log.db"
    log = PredictionLog(f"sqlite:///{file}")
    log.record(prediction_rows(2), MODEL, "test")
    log.close()
    found = sqlite3.connect(file).execute("SELECT features FROM predictions").fetchall()
    assert [json.loads(features) for (features,) in found] == [
        {"V1": 0.0, "V2": None},
        {"V1": 1.0, "V2": None},
    ]


def test_unusable_log_uri_is_explained(tmp_path, postgres_uri):
    wrong = {
        "no url": "not a database URL",
        "mssql://server/log": "neither SQLite nor PostgreSQL; use a URL",
        "sqlite://": "the URL names no file",
        f"sqlite:///{tmp_path}/none/log.db": "unable to open",
        postgres_uri.replace("/log?", "/none?"): "does not exist",
    }
    for uri, reason in wrong.items():
        with pytest.raises(LogUnavailableError, match=reason) as caught:
            PredictionLog(uri)
        assert "\n" not in str(caught.value)


def test_status_hides_password():
    with open_prediction_log("postgresql://me:secret@127.0.0.1:1/log") as log:
        assert log.status().degraded
        assert "secret" not in log.status().reason


def test_unstorable_rows_fail_alone(log, uri):
    nan = [replace(row, score=None) for row in prediction_rows(1)]
    with ThreadPoolExecutor(9) as pool:
        bad = pool.submit(log.record, nan, MODEL, "test")
        good = [pool.submit(log.record, prediction_rows(2), MODEL, "test") for _ in range(8)]
        assert all(len(answer.result()) == 2 for answer in good)
        with pytest.raises(LogUnavailableError, match="cannot be written"):
            bad.result()
    assert len(stored_rows(uri)) == 16
    assert not log.status().degraded


def test_conflict_in_group_fails_alone(log, uri):
    log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")

    async def together():
        one = log.record_async(prediction_rows(1, "r1", shift=1.0), MODEL, "test", "r1")
        others = [
            log.record_async(prediction_rows(1, f"k{i}"), MODEL, "test", f"k{i}") for i in range(9)
        ]
        return await asyncio.gather(one, *others, return_exceptions=True)

    conflict, *answers = asyncio.run(together())
    assert isinstance(conflict, RequestConflictError)
    assert [len(answer) for answer in answers] == [1] * 9
    assert len(stored_rows(uri)) == 10


@pytest.mark.parametrize("key", ["x" * 256, "a\0b", "\ud800"])
def test_unstorable_ids_are_input_errors(log, uri, key):
    with pytest.raises(InputError, match="request_id"):
        log.record(prediction_rows(1), MODEL, "test", key)
    with pytest.raises(InputError, match="id, row 0"):
        log.record([replace(row, entity_id=key) for row in prediction_rows(1)], MODEL, "test")
    assert stored_rows(uri) == []


def test_features_can_be_left_out(uri, monkeypatch):
    monkeypatch.setenv("MLPIPES_LOG_FEATURES", "off")
    with open_prediction_log(uri) as log:
        first = log.record(prediction_rows(3, "r1"), MODEL, "test", "r1")
        log.record(prediction_rows(1), MODEL, "test")
        again = log.record(prediction_rows(3, "r1"), MODEL, "test", "r1")
        assert [row.prediction_id for row in again] == [row.prediction_id for row in first]
        with pytest.raises(RequestConflictError):
            log.record(prediction_rows(3, "r1", shift=1.0), MODEL, "test", "r1")
        assert log.page().predictions[0].features is None
    assert {row["features"] for row in stored_rows(uri)} == {None}


def test_close_stores_accepted_rows(uri):
    log = PredictionLog(uri)
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(log.record, prediction_rows(5), MODEL, "test") for _ in range(40)]
        sent[0].result()
        log.close()
        answered = [future.result() for future in sent if future.exception() is None]
    assert sorted(row.prediction_id for answer in answered for row in answer) == stored_ids(uri)
    with pytest.raises(LogUnavailableError, match="closed"):
        log.record(prediction_rows(1), MODEL, "test")


def test_pages_are_newest_first(log):
    for i in range(5):
        log.record(
            prediction_rows(2, f"r{i}" if i % 2 else None),
            MODEL,
            "test",
            f"r{i}" if i % 2 else None,
        )
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


def test_tables_can_be_created_concurrently(uri):
    with ThreadPoolExecutor(4) as pool:
        logs = list(pool.map(PredictionLog, [uri] * 4))
    for log in logs:
        log.record(prediction_rows(1), MODEL, "test")
    assert len(stored_rows(uri)) == 4
    for log in logs:
        log.close()


def test_default_log_is_in_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREDICTION_LOG_URI", raising=False)
    PredictionLog().close()
    assert Path("predictions.db").is_file()


def test_overview_counts_a_full_table_once(log, monkeypatch):
    log.record(prediction_rows(3), MODEL, "test")
    counts, recent = log.overview(max_counted=5, recent=2)
    assert (counts, len(recent)) == (Counts(3, 0), 2)
    log.record(prediction_rows(3), MODEL, "test")
    assert log.overview(5, 2)[0] == Counts(5, 0)
    monkeypatch.setattr(row_counts, "count_rows", lambda _, table, __: f"counted {table.name}")
    assert log.overview(5, 2)[0] == Counts(5, "counted ground_truth")
    monkeypatch.undo()
    assert log.overview(10, 1)[0] == Counts(6, 0)
