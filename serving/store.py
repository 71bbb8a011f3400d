"""Writes the predictions of many requests in one transaction, each request at most once."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from serving.errors import LogUnavailableError, RequestConflictError, ServingError
from serving.prediction import ModelIdentity, Prediction
from serving.schema import UtcDateTime, one_line, predictions

COLUMNS = (
    "prediction_id", "request_id", "row_index", "entity_id", "created_at", "model_name",
    "model_version", "run_id", "score", "label", "threshold", "features", "source",
    "content_digest",
)  # fmt: skip
# Rows in one statement. Few statements, since SQLite's module gives up Python's lock around
# each; of few sizes, since each size is prepared once. PostgreSQL takes 65,535 values.
SIZES = (512, 64, 8, 1)
STUCK_AFTER = 3.0
QUICK = 1.0
# What a database or its driver raises for values, not for its own state.
NOT_STORABLE = (IntegrityError, DataError, TypeError, ValueError, OverflowError)


@dataclass(slots=True, eq=False)
class Request:
    """The rows of one request, and what became of them once a store has written it."""

    rows: list[Prediction]
    model: ModelIdentity
    source: str
    request_id: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    answer: list[Prediction] | ServingError | None = None


class Store:
    """One connection that writes requests; for one thread, watched by `cut_if_stuck`."""

    def __init__(self, engine: sa.Engine, log_features: bool = True) -> None:
        self._engine = engine
        self._log_features = log_features
        self._moment = UtcDateTime().dialect_impl(engine.dialect).bind_processor(engine.dialect)
        self._connection: sa.Connection | None = None
        self._driver: Any = None
        self._file: tuple[int, int] | None = None
        self._busy_since: float | None = None
        self._lock = threading.Lock()

    def write(self, requests: Sequence[Request]) -> None:
        """Make `requests` durable and set their answers.

        One that cannot be stored, or repeats a key with other rows, does not fail the others.

        Raises:
            SQLAlchemyError: the database is away; what has no answer was not confirmed.
        """
        try:
            self._write_together(requests)
        except NOT_STORABLE as error:
            if len(requests) > 1:
                for request in requests:
                    self.write([request])
            else:
                requests[0].answer = LogUnavailableError(
                    f"the prediction log cannot be written: {one_line(error)}"
                )

    def _write_together(self, requests: Sequence[Request]) -> None:
        started = time.monotonic()
        try:
            self._write_once(requests)
        except DBAPIError as error:
            lost = error.connection_invalidated and time.monotonic() - started < QUICK
            if not lost and not isinstance(error, IntegrityError):
                raise
            # A connection that was lost while nobody used it, or another attempt at a key that
            # was faster and whose rows are there now.
            self._write_once(requests, again=lost)

    def _write_once(self, requests: Sequence[Request], again: bool = False) -> None:
        answers: list[tuple[Request, list[Prediction] | ServingError]] = []
        with self.transaction() as connection:
            new = [request for request in requests if request.request_id is None]
            answers += [(request, request.rows) for request in new]
            if len(new) < len(requests):
                keyed = [request for request in requests if request.request_id is not None]
                answers += self._answer_keyed(connection, keyed, new)
            rows = list(chain.from_iterable(map(self.encode, new)))
            self.insert(connection, rows, ignore_present=again)
        for request, answer in answers:
            request.answer = answer

    def _answer_keyed(
        self, connection: sa.Connection, requests: Sequence[Request], new: list[Request]
    ) -> Iterator[tuple[Request, list[Prediction] | ServingError]]:
        """Return the answer of each request; those that are the first of their key join `new`."""
        _lock_keys(connection, requests)
        stored = _stored(connection, requests)
        firsts: dict[tuple[str | None, str | None], Request] = {}
        for request in requests:
            key = (request.model.name, request.request_id)
            if found := stored.get(key):
                yield request, _repeat(request, found)
            elif first := firsts.get(key):
                yield request, _repeat(request, [(row, None) for row in first.rows])
            else:
                firsts[key] = request
                new.append(request)
                yield request, request.rows

    def moment(self, value: datetime) -> Any:
        """Return `value` as the driver takes it."""
        return self._moment(value) if self._moment else value

    def encode(self, request: Request) -> Iterator[tuple[Any, ...]]:
        """Yield the driver's values of COLUMNS for each row of a request."""
        created_at = self.moment(request.created_at)
        model, source, request_id = request.model, request.source, request.request_id
        digested = request_id is not None and not self._log_features
        for row in request.rows:
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
                _digest(request_id, row) if digested else None,
            )

    def insert(
        self,
        connection: sa.Connection,
        rows: Sequence[tuple[Any, ...]],
        ignore_present: bool = False,
    ) -> None:
        """Insert rows, given as the driver's values of COLUMNS, in a transaction of this store."""
        start = 0
        for size in SIZES:
            while len(rows) - start >= size:
                flat = tuple(chain.from_iterable(rows[start : start + size]))
                statement = _insert_of(size, connection.dialect.name, ignore_present)
                connection.exec_driver_sql(statement, flat)
                self._busy_since = time.monotonic()  # slow, perhaps, but not stuck
                start += size

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Run a transaction on the one connection, which is dropped on any error."""
        self._busy_since = time.monotonic()
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
        except BaseException:
            self._drop()
            raise
        finally:
            self._busy_since = None

    def _connected(self) -> sa.Connection:
        """Return the connection; a new one if its SQLite file is no longer the one there."""
        if self._connection is not None and self._file != self._present_file():
            self._drop()  # what it writes would be lost with the removed file
        if self._connection is None:
            connection = self._engine.connect()
            with self._lock:
                self._connection = connection
                self._driver = connection.connection.driver_connection
            self._file = self._present_file()
        return self._connection

    def _present_file(self) -> tuple[int, int] | None:
        if self._engine.dialect.name != "sqlite":
            return None
        try:
            found = os.stat(self._engine.url.database or "")
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def cut_if_stuck(self) -> None:
        """End a transaction that a PostgreSQL server leaves without an answer.

        The server may be stopped or the network gone: no setting of the driver ends that wait.
        """
        since = self._busy_since
        if since is None or time.monotonic() - since < STUCK_AFTER:
            return
        with self._lock:
            driver = self._driver
            if driver is None or self._engine.dialect.name != "postgresql" or driver.closed:
                return
            with suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close the connection."""
        self._drop()


@cache
def _insert_of(size: int, dialect: str, ignore_present: bool) -> str:
    values = f"({', '.join(['?' if dialect == 'sqlite' else '%s'] * len(COLUMNS))})"
    return (
        f"INSERT INTO predictions ({', '.join(COLUMNS)}) VALUES {', '.join([values] * size)}"  # noqa: S608
        f"{' ON CONFLICT (prediction_id) DO NOTHING' if ignore_present else ''}"
    )


def _lock_keys(connection: sa.Connection, requests: Sequence[Request]) -> None:
    """Let attempts at the same request wait for each other; SQLite has one writer anyway."""
    if connection.dialect.name != "postgresql":
        return
    # Always in the same order, so that two groups cannot wait for each other.
    for lock in sorted({int(request.rows[0].prediction_id[:8], 16) for request in requests}):
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7222, %s)", (lock - 2**31,))


def _stored(
    connection: sa.Connection, requests: Sequence[Request]
) -> dict[tuple[str | None, str | None], list[tuple[Prediction, str | None]]]:
    """Return the rows stored under the keys of `requests` with their digests."""
    fields = Prediction.__dataclass_fields__
    found = connection.execute(
        sa.select(
            predictions.c.model_name,
            predictions.c.request_id,
            predictions.c.content_digest,
            *(predictions.c[name] for name in fields),
        )
        .where(predictions.c.request_id.in_({request.request_id for request in requests}))
        .order_by(predictions.c.row_index)
    )
    stored: dict[Any, list[tuple[Prediction, str | None]]] = {}
    for row in found.mappings():
        prediction = Prediction(**{name: row[name] for name in fields})
        key = (row["model_name"], row["request_id"])
        stored.setdefault(key, []).append((prediction, row["content_digest"]))
    return stored


def _repeat(
    request: Request, first: Sequence[tuple[Prediction, str | None]]
) -> list[Prediction] | ServingError:
    """Answer a retry as the first attempt, whose rows it must repeat.

    The score may differ: a new champion may have come since.
    """
    same = len(first) == len(request.rows) and all(
        row.entity_id == stored.entity_id
        and (
            row.features == stored.features
            if digest is None
            else _digest(request.request_id, row) == digest
        )
        for row, (stored, digest) in zip(request.rows, first, strict=True)
    )
    if same:
        pairs = zip(request.rows, first, strict=True)
        return [replace(stored, features=row.features) for row, (stored, _) in pairs]
    return RequestConflictError(
        f"request id {request.request_id!r} was used before with other rows: "
        "send new content under a new id"
    )


def _digest(request_id: str | None, row: Prediction) -> str:
    """What a retry must repeat, where the features themselves are not logged."""
    features = orjson.dumps(row.features, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(f"{request_id}\0{row.row_index}\0".encode() + features).hexdigest()
