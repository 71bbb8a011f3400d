"""Purges of large logs beside servers."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from serving.log.database import space
from serving.log.database.engine import connect
from serving.log.database.schema import predictions
from serving.log.ground_truth import Label
from serving.log.purge import delete_before
from steps.prediction_log.purge import purge
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows, stored_ids

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
CUT = datetime(2021, 1, 1, tzinfo=UTC)
FEATURES = "{" + ", ".join(f'"V{i}": 0.123456789' for i in range(10)) + "}"


def fill(file, n_rows, n_new=100):
    """Insert old rows, and new ones after them."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executemany(
            "INSERT INTO predictions (prediction_id, request_id, row_index, entity_id, created_at,"
            " score, label, threshold, features, source) VALUES (?, ?, 0, ?, ?, 0, 0, 0, ?, 't')",
            (
                (
                    f"old-{i}" if i < n_rows else f"new-{i}",
                    f"r{i}",
                    f"e{i}",
                    str((LONG_AGO if i < n_rows else CUT).replace(tzinfo=None)) + ".000000",
                    FEATURES,
                )
                for i in range(n_rows + n_new)
            ),
        )


def pragma(file, name):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.fixture
def file(tmp_path, sqlite_uri):
    """The file of a new log."""
    with open_prediction_log(sqlite_uri):
        pass
    return tmp_path / "log.db"


@pytest.fixture
def older(tmp_path, sqlite_uri):
    """The file of a log that an earlier release created."""
    new = tmp_path / "new.db"
    with open_prediction_log(f"sqlite:///{new}"):
        pass
    with (
        closing(sqlite3.connect(new)) as source,
        closing(sqlite3.connect(tmp_path / "log.db")) as o,
    ):
        o.execute("PRAGMA journal_mode=WAL")
        o.executescript("\n".join(list(source.iterdump())))
    assert pragma(tmp_path / "log.db", "auto_vacuum") == 0
    return tmp_path / "log.db"


class Traffic:
    """Keyed requests from two threads, and the longest wait for an answer."""

    def __init__(self, log):
        self.answered, self.failed, self.slowest = [], [], 0.0
        self._log, self._stop = log, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(2)]

    def _ask(self, thread):
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            key = f"key-{thread}-{number}"
            rows = prediction_rows(1, key)
            start = time.monotonic()
            try:
                self._log.record(rows, MODEL, "test", key)
                self.answered.append(rows[0].prediction_id)
            except Exception as error:
                self.failed.append(error)
            self.slowest = max(self.slowest, time.monotonic() - start)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_new_logs_release_pages_and_erase_rows(file, spool):
    assert pragma(file, "auto_vacuum") == 2
    assert {pragma(found, "auto_vacuum") for found in spool.glob("*.db")} == {2}
    with connect(f"sqlite:///{file}").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar_one() == 1


def test_purge_refuses_no_request(file, sqlite_uri):
    fill(file, 300_000)
    before = file.stat().st_size
    with open_prediction_log(sqlite_uri) as log, Traffic(log) as traffic:
        time.sleep(0.3)
        removed = purge(sqlite_uri, CUT)
        wal = file.with_name("log.db-wal").stat().st_size
    assert removed.predictions == 300_000
    assert not traffic.failed
    assert traffic.slowest < 2.0
    assert set(traffic.answered) <= set(stored_ids(sqlite_uri))
    assert file.stat().st_size < before / 20
    assert wal < 10e6


def test_killed_purge_is_finished_by_the_next(file, sqlite_uri):
    fill(file, 60_000)
    full = file.stat().st_size
    killed = (
        "import os, signal, threading\n"
        "from steps.prediction_log import purge\n"
        "purge.compact = lambda engine: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from datetime import datetime, UTC\n"
        f"purge.purge({sqlite_uri!r}, datetime(2021, 1, 1, tzinfo=UTC))\n"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert len(stored_ids(sqlite_uri)) == 100
    assert purge(sqlite_uri, CUT).predictions == 0
    assert file.stat().st_size < full / 20
    assert pragma(file, "freelist_count") == 0


def test_older_log_is_converted_when_nobody_uses_it(older, sqlite_uri, monkeypatch):
    monkeypatch.setattr(space, "SMALL_PAGES", 10)
    fill(older, 3_000)
    assert purge(sqlite_uri, CUT).predictions == 3_000
    assert pragma(older, "auto_vacuum") == 2
    assert pragma(older, "journal_mode") == "wal"
    assert b"old-1" not in older.read_bytes()


def test_older_log_in_use_is_converted_later(older, sqlite_uri, monkeypatch, caplog):
    monkeypatch.setattr(space, "SMALL_PAGES", 10)
    fill(older, 3_000)
    size = older.stat().st_size
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
        assert purge(sqlite_uri, CUT).predictions == 3_000
        assert "is in use" in caplog.text
        assert "stop all servers once" in caplog.text
        assert older.stat().st_size == size
        for found in (older, older.with_name("log.db-wal")):
            assert b"old-1" not in found.read_bytes()
    assert purge(sqlite_uri, CUT).predictions == 0
    assert older.stat().st_size < size / 3
    assert pragma(older, "auto_vacuum") == 2


def test_purge_in_portions_counts_all(uri, spool, monkeypatch):
    from serving.log import purge as module

    monkeypatch.setattr(module, "FIRST_ROWS", 2)
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    monkeypatch.setattr(module, "MIN_ROWS", 2)
    with open_prediction_log(uri) as log:
        log.record(prediction_rows(7), MODEL, "test")
        log.feedback([Label(1, entity_id=f"card-{i}") for i in range(7)])
    engine = connect(uri)
    counts = delete_before(engine, datetime.now(UTC) + timedelta(seconds=1))
    with engine.connect() as connection:
        assert not connection.execute(predictions.select()).all()
    engine.dispose()
    assert (counts.predictions, counts.labels) == (7, 7)
