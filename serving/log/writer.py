"""Writing of many requests in one transaction, each keyed request at most once."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import chain
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from serving.errors import LogUnavailableError, one_line
from serving.log.database.engine import probe
from serving.log.database.multi_row_insert import Row, insert_rows
from serving.log.database.schema import UtcDateTime, predictions
from serving.log.database.watched_connection import WatchedConnection, was_lost_while_idle
from serving.log.write_request import (
    Answer,
    FirstAttempt,
    WriteRequest,
    answer_to_retry,
    content_digest,
)
from serving.model.prediction import Prediction

logger = logging.getLogger("ml-pipes")

# Raised by a database or its driver for values, not for its own state.
UNSTORABLE = (IntegrityError, DataError, TypeError, ValueError, OverflowError)


class LogWriter:
    """Writes requests on one connection; used by one thread, watched by `abort_if_stuck`."""

    def __init__(self, engine: sa.Engine, log_features: bool = True) -> None:
        self._log_features = log_features
        time_type = UtcDateTime().dialect_impl(engine.dialect)
        self._as_driver_time = time_type.bind_processor(engine.dialect)
        self._connection = WatchedConnection(engine)

    def write(self, requests: Sequence[WriteRequest]) -> None:
        """Make `requests` durable and set their answers.

        A request that cannot be stored, or reuses a key for other rows, does not fail the others.

        Raises:
            SQLAlchemyError: the database is unavailable; unanswered requests were not confirmed.
        """
        try:
            self._write_together(requests)
        except UNSTORABLE as error:
            if len(requests) > 1:
                for request in requests:
                    self.write([request])
            else:
                reason = f"the prediction log cannot be written: {one_line(error)}"
                logger.warning("%s", reason)
                requests[0].answer = LogUnavailableError(
                    reason, "the prediction log cannot be written: see the log of the server"
                )

    def _write_together(self, requests: Sequence[WriteRequest]) -> None:
        started = time.monotonic()
        try:
            self._write_once(requests)
        except DBAPIError as error:
            lost = was_lost_while_idle(error, started)
            # An IntegrityError may come from a concurrent attempt at the same key, which has
            # stored its rows by now.
            if not lost and not isinstance(error, IntegrityError):
                raise
            self._write_once(requests, again=lost)

    def _write_once(self, requests: Sequence[WriteRequest], again: bool = False) -> None:
        answers: list[tuple[WriteRequest, Answer]] = []
        with self._connection.transaction() as connection:
            new = [request for request in requests if request.request_id is None]
            answers += [(request, request.rows) for request in new]
            if len(new) < len(requests):
                keyed = [request for request in requests if request.request_id is not None]
                answers += _answer_keyed(connection, keyed, new)
            rows = list(chain.from_iterable(map(self.encode, new)))
            self._insert(connection, rows, ignore_present=again)
        for request, answer in answers:
            request.answer = answer

    def insert_missing(self, rows: Iterable[Row]) -> None:
        """Insert the rows that the log does not hold yet, in one transaction.

        Raises:
            SQLAlchemyError: the database is unavailable, or a value cannot be stored.
        """
        with self._connection.transaction() as connection:
            self._insert(connection, list(rows), ignore_present=True)

    def probe(self) -> None:
        """Check that the log can be written.

        Raises:
            SQLAlchemyError: it cannot.
        """
        with self._connection.transaction() as connection:
            probe(connection)

    def abort_if_stuck(self) -> None:
        """Abort a transaction that a PostgreSQL server does not answer."""
        self._connection.abort_if_stuck()

    def close(self) -> None:
        """Close the connection; the next transaction opens a new one."""
        self._connection.close()

    def encode_time(self, value: datetime) -> Any:
        """Return `value` as the driver takes it."""
        return self._as_driver_time(value) if self._as_driver_time else value

    def encode(self, request: WriteRequest) -> Iterator[Row]:
        """Yield the rows of a request as the driver takes them."""
        created_at = self.encode_time(request.created_at)
        model, source, request_id = request.model, request.source, request.request_id
        digested = request_id is not None and not self._log_features
        for row in request.rows:
            # In the order of the table's columns: a tuple goes to the driver as it is.
            yield (
                row.prediction_id,
                request_id,
                row.row_index,
                row.entity_id,
                created_at,
                model.name,
                model.version,
                model.run_id,
                row.score,
                row.label,
                row.threshold,
                orjson.dumps(row.features).decode() if self._log_features else None,
                source,
                content_digest(request_id, row) if digested else None,
            )

    def _insert(self, connection: sa.Connection, rows: Sequence[Row], ignore_present: bool) -> None:
        insert_rows(
            connection,
            predictions,
            rows,
            ignore_present=ignore_present,
            note_progress=self._connection.note_progress,
        )


def _answer_keyed(
    connection: sa.Connection, requests: Sequence[WriteRequest], new: list[WriteRequest]
) -> Iterator[tuple[WriteRequest, Answer]]:
    """Yield the answer of each request; the first request of each key is appended to `new`."""
    _lock_keys(connection, requests)
    stored = _first_attempts(connection, requests)
    firsts: dict[tuple[str | None, str | None], WriteRequest] = {}
    for request in requests:
        if found := stored.get(request.key):
            yield request, answer_to_retry(request, found)
        elif first := firsts.get(request.key):
            attempt = [FirstAttempt(row, None) for row in first.rows]
            yield request, answer_to_retry(request, attempt)
        else:
            firsts[request.key] = request
            new.append(request)
            yield request, request.rows


def _lock_keys(connection: sa.Connection, requests: Sequence[WriteRequest]) -> None:
    """Serialize attempts at the same request; SQLite has one writer anyway."""
    if connection.dialect.name != "postgresql":
        return
    # Always in the same order, or two groups could wait for each other.
    for lock in sorted({int(request.rows[0].prediction_id[:8], 16) for request in requests}):
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7222, %s)", (lock - 2**31,))


def _first_attempts(
    connection: sa.Connection, requests: Sequence[WriteRequest]
) -> dict[tuple[str | None, str | None], list[FirstAttempt]]:
    """Return the rows stored under the keys of `requests`."""
    names = [field.name for field in fields(Prediction)]
    found = connection.execute(
        sa.select(
            predictions.c.model_name,
            predictions.c.request_id,
            predictions.c.content_digest,
            *(predictions.c[name] for name in names),
        )
        .where(predictions.c.request_id.in_({request.request_id for request in requests}))
        .order_by(predictions.c.row_index)
    )
    stored: dict[tuple[str | None, str | None], list[FirstAttempt]] = {}
    for row in found.mappings():
        prediction = Prediction(**{name: row[name] for name in names})
        attempt = FirstAttempt(prediction, row["content_digest"])
        stored.setdefault((row["model_name"], row["request_id"]), []).append(attempt)
    return stored
