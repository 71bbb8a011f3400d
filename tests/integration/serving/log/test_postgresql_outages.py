"""Prediction log while PostgreSQL is stopped or hangs: no answered row is lost."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.log.shadow_predictions import ShadowLog, ShadowPrediction
from tests.support.log_fixtures import (
    MODEL,
    assert_nothing_lost,
    hung_postgresql,
    open_prediction_log,
    prediction_rows,
    stopped_postgresql,
    stored_ids,
    stored_rows,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("spool")


class ConcurrentLoad:
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
            mine = [
                replace(row, entity_id=f"{thread}-{number}") for row in prediction_rows(1, request)
            ]
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


@pytest.mark.parametrize("outage", [stopped_postgresql, hung_postgresql])
def test_postgresql_outage_loses_no_row(postgres, postgres_uri, outage):
    with open_prediction_log(postgres_uri) as log:
        load = ConcurrentLoad(log)
        time.sleep(0.5)
        for _ in range(2):
            with outage(postgres):
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


def test_shadow_log_gives_up_on_hung_postgresql_and_recovers(postgres, postgres_uri):
    def write(prediction_id):
        log.write([ShadowPrediction(prediction_id, "2", 0.5, 1, datetime.now(UTC))])

    log = ShadowLog(postgres_uri)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(write, "before").result(20)
        with hung_postgresql(postgres), pytest.raises(SQLAlchemyError):
            pool.submit(write, "during").result(20)
        pool.submit(write, "after").result(20)
    log.close()


def test_shadow_log_is_written_after_restart(postgres, postgres_uri):
    log = ShadowLog(postgres_uri)
    shadow = ShadowPrediction("before", "2", 0.5, 1, datetime.now(UTC))
    log.write([shadow])
    with stopped_postgresql(postgres):
        pass
    log.write([replace(shadow, prediction_id="after")])
    log.close()


def test_pages_give_up_on_hung_postgresql_and_recover(postgres, postgres_uri, monkeypatch):
    monkeypatch.setattr("serving.log.reader.READ_SECONDS", 1.0)
    with open_prediction_log(postgres_uri) as log, ThreadPoolExecutor(1) as pool:
        log.record(prediction_rows(1), MODEL, "test")
        assert len(log.page().predictions) == 1
        with hung_postgresql(postgres), pytest.raises(LogUnavailableError):
            pool.submit(log.page).result(20)
        assert len(pool.submit(log.page).result(20).predictions) == 1


def test_restart_between_requests_is_transparent(postgres, postgres_uri):
    with open_prediction_log(postgres_uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
        log.page()
        with stopped_postgresql(postgres):
            pass
        assert len(log.page().predictions) == 1
        log.record(prediction_rows(1), MODEL, "test")
        log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
        assert not log.status().degraded
    assert len(stored_rows(postgres_uri)) == 3


def test_spool_is_drained_by_next_process(postgres, postgres_uri, spool):
    with stopped_postgresql(postgres):
        with open_prediction_log(postgres_uri) as log:
            assert log.status().degraded
            sent = log.record(prediction_rows(2_500), MODEL, "test")
        with open_prediction_log(postgres_uri) as log:  # still away
            sent += log.record(prediction_rows(1), MODEL, "test")
            assert log.status().spooled == 2_501
    with open_prediction_log(postgres_uri) as log, open_prediction_log(postgres_uri) as another:
        wait_until(lambda: not log.status().spooled and not another.status().spooled)
        log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
    assert set(stored_ids(postgres_uri)) > {row.prediction_id for row in sent}
    assert len(stored_rows(postgres_uri)) == 2_502
    (file,) = spool.glob("*.db")
    assert stored_rows(f"sqlite:///{file}") == []


def test_drained_rows_are_not_duplicated_after_crash(postgres, postgres_uri, spool):
    with stopped_postgresql(postgres), open_prediction_log(postgres_uri) as log:
        sent = log.record(prediction_rows(3), MODEL, "test")
    (file,) = spool.glob("*.db")
    with sqlite3.connect(file) as left:
        left.execute("CREATE TABLE kept AS SELECT * FROM predictions")
    with open_prediction_log(postgres_uri) as log:
        wait_until(lambda: not log.status().spooled)
    with sqlite3.connect(file) as left:  # as if it had crashed before it deleted them
        left.execute("INSERT INTO predictions SELECT * FROM kept")
    with open_prediction_log(postgres_uri) as log:
        wait_until(lambda: not log.status().spooled)
    assert stored_ids(postgres_uri) == [row.prediction_id for row in sent]
