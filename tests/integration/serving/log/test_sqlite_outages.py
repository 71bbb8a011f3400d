"""Prediction log on SQLite files that are locked, full or removed: no answered row is lost."""

import os
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from serving.errors import LogUnavailableError
from serving.log.prediction_log import PredictionLog
from tests.support.log_fixtures import (
    MODEL,
    open_prediction_log,
    prediction_rows,
    stored_ids,
    stored_rows,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("spool")


def test_locked_file_spools_rows(sqlite_uri, tmp_path):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.record(prediction_rows(2), MODEL, "test")
        assert "locked" in log.status().reason
        with pytest.raises(LogUnavailableError, match="tried again"):
            log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
    assert len(stored_rows(sqlite_uri)) == 3


def test_spool_that_cannot_be_emptied_does_not_hold_up_log(sqlite_uri, spool, tmp_path, caplog):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.record(prediction_rows(2), MODEL, "test")
        (file,) = spool.glob("*.db")
        with closing(sqlite3.connect(file, isolation_level=None)) as spooled:
            spooled.execute(
                "CREATE TRIGGER full BEFORE DELETE ON predictions "
                "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: "cannot be moved" in caplog.text)
        log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")  # needs the log itself
        time.sleep(2.5)
        assert caplog.text.count("cannot be moved") == 1
        with closing(sqlite3.connect(file, isolation_level=None)) as spooled:
            spooled.execute("DROP TRIGGER full")
        wait_until(lambda: not log.status().degraded)
    assert len(stored_rows(sqlite_uri)) == 4


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], stderr=subprocess.DEVNULL
    )
    if not mounted:
        pytest.skip("needs to mount a small tmpfs, which only root can")
    yield folder
    subprocess.check_call(["umount", "-l", folder])


def record_until(log, sent, until=lambda: False):
    while not until():
        sent += log.record(prediction_rows(200), MODEL, "test")


def test_full_disk_spools_rows_elsewhere(small_disk):
    uri, sent = f"sqlite:///{small_disk}/log.db", []
    with open_prediction_log(uri) as log:
        record_until(log, sent, until=lambda: log.status().spooled)
        assert "full" in log.status().reason
        log.check_writable()
        subprocess.check_call(["mount", "-o", "remount,size=64m", small_disk])
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
    assert stored_ids(uri) == sorted(row.prediction_id for row in sent)


def test_full_disk_with_spool_rejects_rows(small_disk, monkeypatch):
    monkeypatch.setenv("MLPIPES_SPOOL", str(small_disk / "spool"))
    uri, sent = f"sqlite:///{small_disk}/log.db", []
    with open_prediction_log(uri) as log:
        with pytest.raises(LogUnavailableError, match="full"):
            record_until(log, sent)
        with pytest.raises(LogUnavailableError, match="full"):
            log.check_writable()
        subprocess.check_call(["mount", "-o", "remount,size=64m", small_disk])
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        log.check_writable()
        sent += log.record(prediction_rows(1), MODEL, "test")
    assert stored_ids(uri) == sorted(row.prediction_id for row in sent)


def test_log_without_usable_spool(sqlite_uri, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLPIPES_SPOOL", str(tmp_path / "file"))
    with open_prediction_log(sqlite_uri) as log:
        assert "spool unavailable" in caplog.text
        log.record(prediction_rows(1), MODEL, "test")
        with sqlite3.connect(tmp_path / "log.db") as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        with pytest.raises(LogUnavailableError, match=r"no such table.*spool"):
            log.record(prediction_rows(1), MODEL, "test")
        with pytest.raises(LogUnavailableError):
            log.check_writable()
    with pytest.raises(LogUnavailableError, match="Connection refused"):
        PredictionLog("postgresql://me@127.0.0.1:1/log")


def test_removed_file_loses_no_later_row(sqlite_uri, tmp_path, spool):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
        for file in tmp_path.glob("log.db*"):
            file.unlink()
        sent = log.record(prediction_rows(2), MODEL, "test")
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        sent += log.record(prediction_rows(1), MODEL, "test")
    assert stored_ids(sqlite_uri) == [row.prediction_id for row in sent]
