"""Every answered prediction is in the log exactly once, whatever happens to whom.

Writers killed at any moment, PostgreSQL stopped, hung or away, SQLite locked, disks full.
"""

import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from serving.errors import LogUnavailableError
from serving.prediction_log import PredictionLog
from tests.conftest import PROJECT
from tests.log_fixtures import MODEL, ids, opened, rows, stored, wait_until

pytestmark = pytest.mark.usefixtures("spool")


@contextmanager
def writers(n, uri, answered, *options):
    """Run `n` processes that predict without end."""
    command = [sys.executable, "-m", "tests.log_writer", uri, str(answered), *options]
    started = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(n)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def lines(answered):
    """The ids that were answered; a line cut off by the kill is none."""
    text = answered.read_text() if answered.exists() else ""
    return text[: text.rfind("\n") + 1].split()


def assert_nothing_lost(uri, answered):
    found = stored(uri)
    assert len({row["prediction_id"] for row in found}) == len(found)
    assert len({row["entity_id"] for row in found}) == len(found), "a row was logged twice"
    assert answered
    assert set(answered) <= {row["prediction_id"] for row in found}


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 5), ("postgres", 2)])
def test_writers_killed_under_load(request, tmp_path, kind, kills):
    uri, answered = request.getfixturevalue(f"{kind}_uri"), tmp_path / "answered"
    for _ in range(kills):
        before = len(lines(answered))
        with writers(2, uri, answered) as started:
            wait_until(lambda n=before: len(lines(answered)) > n)
            for process in started:
                time.sleep(random.uniform(0, 0.4))
                process.kill()
    with opened(uri) as log:
        log.record(rows(1), MODEL, "test")
    assert_nothing_lost(uri, lines(answered))


class Load:
    """Requests without and with a key from many threads, until told to stop."""

    def __init__(self, log):
        self.log, self.answered, self.refused, self.slowest = log, [], [], 0.0
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(8)
        self._futures = [
            self._pool.submit(self._ask, i, key=f"{i}-" if i > 5 else None) for i in range(8)
        ]

    def _ask(self, thread, key):
        for number in range(1_000_000):
            if self._stop.is_set():
                return
            request = f"{key}{number}" if key else None
            mine = [replace(row, entity_id=f"{thread}-{number}") for row in rows(1, request)]
            start = time.monotonic()
            try:
                self.answered += [
                    row.prediction_id for row in self.log.record(mine, MODEL, "test", request)
                ]
            except LogUnavailableError:
                self.refused.append(request)
                time.sleep(0.05)
            self.slowest = max(self.slowest, time.monotonic() - start)

    def stop(self):
        self._stop.set()
        for future in self._futures:
            future.result()
        self._pool.shutdown()


@contextmanager
def stopped(server):
    """PostgreSQL is shut down, and started again at the end."""
    server.stop()
    try:
        yield
    finally:
        server.ensure_postgres_running()


@contextmanager
def hung(server):
    """PostgreSQL takes connections but answers nothing."""
    main = psutil.Process(server.get_pid())
    family = [main, *main.children(recursive=True)]
    for process in family:
        process.suspend()
    try:
        yield
    finally:
        for process in family:
            process.resume()


@pytest.mark.parametrize("away", [stopped, hung])
def test_postgresql_goes_and_comes_back_under_load(postgres, postgres_uri, away):
    with opened(postgres_uri) as log:
        load = Load(log)
        time.sleep(0.5)
        for _ in range(2):
            with away(postgres):
                wait_until(lambda: log.status().spooled > 20)
                status = log.status()
                assert status.degraded
                assert status.reason
                log.check_writable()
                with pytest.raises(LogUnavailableError):
                    log.page()
            wait_until(lambda: not log.status().degraded and not log.status().spooled)
        load.stop()
        wait_until(lambda: not log.status().spooled)
        assert None not in load.refused, "a request without a key failed"
    assert_nothing_lost(postgres_uri, load.answered)


def test_a_server_restarted_while_nobody_asks_is_not_noticed(postgres, postgres_uri):
    with opened(postgres_uri) as log:
        log.record(rows(1), MODEL, "test")
        with stopped(postgres):
            pass
        log.record(rows(1), MODEL, "test")
        log.record(rows(1, "r1"), MODEL, "test", "r1")
        assert not log.status().degraded
    assert len(stored(postgres_uri)) == 3


def test_what_was_spooled_is_moved_by_the_next_process(postgres, postgres_uri, spool):
    with stopped(postgres):
        with opened(postgres_uri) as log:
            assert log.status().degraded
            sent = log.record(rows(2_500), MODEL, "test")
        with opened(postgres_uri) as log:  # still away
            sent += log.record(rows(1), MODEL, "test")
            assert log.status().spooled == 2_501
    with opened(postgres_uri) as log, opened(postgres_uri) as another:
        wait_until(lambda: not log.status().spooled and not another.status().spooled)
        log.record(rows(1, "r1"), MODEL, "test", "r1")
    assert set(ids(postgres_uri)) > {row.prediction_id for row in sent}
    assert len(stored(postgres_uri)) == 2_502
    (file,) = spool.glob("*.db")
    assert stored(f"sqlite:///{file}") == []


def test_rows_moved_before_a_crash_are_not_moved_twice(postgres, postgres_uri, spool):
    with stopped(postgres), opened(postgres_uri) as log:
        sent = log.record(rows(3), MODEL, "test")
    (file,) = spool.glob("*.db")
    with sqlite3.connect(file) as left:
        left.execute("CREATE TABLE kept AS SELECT * FROM predictions")
    with opened(postgres_uri) as log:
        wait_until(lambda: not log.status().spooled)
    with sqlite3.connect(file) as left:  # as if it had crashed before it deleted them
        left.execute("INSERT INTO predictions SELECT * FROM kept")
    with opened(postgres_uri) as log:
        wait_until(lambda: not log.status().spooled)
    assert ids(postgres_uri) == [row.prediction_id for row in sent]


def test_a_file_locked_for_long(sqlite_uri, tmp_path):
    with opened(sqlite_uri) as log:
        log.record(rows(1, "r1"), MODEL, "test", "r1")
        other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        log.record(rows(2), MODEL, "test")
        assert "locked" in log.status().reason
        with pytest.raises(LogUnavailableError, match="tried again"):
            log.record(rows(1, "r1"), MODEL, "test", "r1")
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        log.record(rows(1, "r1"), MODEL, "test", "r1")
    assert len(stored(sqlite_uri)) == 3


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


def record_on(log, sent, until=lambda: False):
    while not until():
        sent += log.record(rows(200), MODEL, "test")


def test_a_full_disk_with_a_spool_elsewhere(small_disk):
    uri, sent = f"sqlite:///{small_disk}/log.db", []
    with opened(uri) as log:
        record_on(log, sent, until=lambda: log.status().spooled)
        assert "full" in log.status().reason
        log.check_writable()
        subprocess.check_call(["mount", "-o", "remount,size=64m", small_disk])
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
    assert ids(uri) == sorted(row.prediction_id for row in sent)


def test_a_full_disk_with_the_spool_on_it_answers_nothing(small_disk, monkeypatch):
    monkeypatch.setenv("MLPIPES_SPOOL", str(small_disk / "spool"))
    uri, sent = f"sqlite:///{small_disk}/log.db", []
    with opened(uri) as log:
        with pytest.raises(LogUnavailableError, match="full"):
            record_on(log, sent)
        with pytest.raises(LogUnavailableError, match="full"):
            log.check_writable()
        subprocess.check_call(["mount", "-o", "remount,size=64m", small_disk])
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        log.check_writable()
        sent += log.record(rows(1), MODEL, "test")
    assert ids(uri) == sorted(row.prediction_id for row in sent)


def test_files_that_may_not_grow_answer_nothing_that_is_not_logged(sqlite_uri, tmp_path):
    answered = tmp_path / "answered"
    with writers(1, sqlite_uri, answered, "400000") as (process,):
        reasons, _ = process.communicate(timeout=60)
    assert len(reasons.splitlines()) == 8
    with opened(sqlite_uri) as log:
        wait_until(lambda: not log.status().spooled)
    assert_nothing_lost(sqlite_uri, lines(answered))


def test_a_log_without_a_usable_spool_works_and_says_when_it_cannot(
    sqlite_uri, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLPIPES_SPOOL", str(tmp_path / "file"))
    with opened(sqlite_uri) as log:
        assert "no spool" in caplog.text
        log.record(rows(1), MODEL, "test")
        with sqlite3.connect(tmp_path / "log.db") as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        with pytest.raises(LogUnavailableError, match=r"no such table.*spool"):
            log.record(rows(1), MODEL, "test")
        with pytest.raises(LogUnavailableError):
            log.check_writable()
    with pytest.raises(LogUnavailableError, match="Connection refused"):
        PredictionLog("postgresql://me@127.0.0.1:1/log")


RETRY = """
import asyncio, sys
from dataclasses import replace
from serving.prediction_log import PredictionLog
from tests.log_fixtures import MODEL, rows
log = PredictionLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
async def ask(key):
    mine = [replace(row, score=float(sys.argv[2])) for row in rows(3, key)]
    return key, [row.score for row in await log.record_async(mine, MODEL, "test", key)]
async def ask_all():  # in groups, and in opposite orders
    keys = [f"r{i}" for i in range(200)][:: int(sys.argv[3])]
    return sorted(await asyncio.gather(*map(ask, keys)))
print(*asyncio.run(ask_all()), sep="\\n")
log.close()
"""


def test_attempts_at_once_on_two_workers_answer_the_same(uri):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RETRY, uri, *options],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for options in (("0.25", "1"), ("0.75", "-1"))
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=60)[0].splitlines() for worker in workers]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 200
    assert len(stored(uri)) == 600


def test_a_file_removed_while_serving_takes_no_answered_rows_with_it(sqlite_uri, tmp_path, spool):
    with opened(sqlite_uri) as log:
        log.record(rows(1), MODEL, "test")
        for file in tmp_path.glob("log.db*"):
            file.unlink()
        sent = log.record(rows(2), MODEL, "test")
        wait_until(lambda: not log.status().degraded and not log.status().spooled)
        sent += log.record(rows(1), MODEL, "test")
    assert ids(sqlite_uri) == [row.prediction_id for row in sent]
