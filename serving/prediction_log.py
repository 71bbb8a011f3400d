"""The prediction log: every answer is durable in a database before it is given.

SQLite by default (write-ahead log, synchronous=FULL: a commit survives a crash), PostgreSQL by
URL. One thread writes: it takes all requests that wait, commits them in one transaction, and
then answers them all. While the database is away their rows go to a durable spool on this
machine; another thread moves them over, exactly once, when it is back.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.feedback import FeedbackResult, Label, check_label, store_labels
from serving.history import Counts, Page, read_counts, read_page
from serving.prediction import ModelIdentity, Prediction, check_key
from serving.schema import (
    READ_ONLY,
    connect,
    log_uri,
    one_line,
    probe,
    upgrade,
    without_password,
)
from serving.spool import Spool, spool_file
from serving.store import Request, Store

log = logging.getLogger("ml-pipes")

ROWS_AT_ONCE = 1_024
PROBE_EVERY = 1.0
WATCH_EVERY = 0.25

T = TypeVar("T")


@dataclass(frozen=True)
class LogStatus:
    """Whether rows go to the spool or wait there (`degraded`) and why, and how many wait."""

    degraded: bool
    reason: str | None
    spooled: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request and whom to tell; `loop` is None if a thread waits."""

    request: Request
    future: Future[list[Prediction]] | asyncio.Future[list[Prediction]]
    loop: asyncio.AbstractEventLoop | None = None


class PredictionLog:
    """Writes predictions to one database; safe to use from many threads and processes."""

    def __init__(self, uri: str | None = None) -> None:
        """Open the log at `uri` (default: PREDICTION_LOG_URI), create or upgrade its tables,
        and move over what waits in its spool.

        A PostgreSQL server that cannot be reached does not hinder: rows are spooled.

        Raises:
            LogUnavailableError: the URL is wrong, the log is newer than this code, or rows
                can be made durable nowhere.
        """
        uri = log_uri(uri)
        log_features = features_are_logged()
        self._engine = connect(uri)
        self._store = Store(self._engine, log_features)
        self._mover = Store(self._engine, log_features)
        self._spool = Spool(spool_file(self._engine.url), log_features)
        self._reason: str | None = None
        self._spool_error: str | None = None
        self._spooled = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._submitting = threading.Lock()
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        try:
            self._open(uri)
        except LogUnavailableError:
            self._disconnect()
            raise
        self._threads = [
            threading.Thread(target=work, name=f"prediction-log-{work.__name__}", daemon=True)
            for work in (self._write, self._recover, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    def _open(self, uri: str) -> None:
        try:
            self._spool.open()
            self._spooled = self._spool.count()
        except (LogUnavailableError, SQLAlchemyError) as error:
            self._spool_error = one_line(error)
            log.warning("no spool, should the prediction log be away: %s", self._spool_error)
        try:
            upgrade(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            message = f"prediction log {without_password(uri)} cannot be opened: {one_line(error)}"
            if self._spool_error or not _may_come_back(self._engine, error):
                raise LogUnavailableError(message) from error
            self._leave(message)

    def record(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows` durably and return what to answer: `rows` itself, or with a
        `request_id` that was stored before, the rows of its first attempt.

        Raises:
            InputError: `request_id` or the caller's id of a row cannot be stored.
            RequestConflictError: `request_id` was used before with other rows.
            LogUnavailableError: the rows could not be stored; try again.
        """
        if not rows:
            return rows
        future: Future[list[Prediction]] = Future()
        self._submit(_Waiting(_checked(rows, model, source, request_id), future))
        return future.result()

    async def record_async(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """As `record`, for a coroutine: it does not block the event loop."""
        if not rows:
            return rows
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Prediction]] = loop.create_future()
        self._submit(_Waiting(_checked(rows, model, source, request_id), future, loop))
        return await future

    def status(self) -> LogStatus:
        """Return how the log is; never waits."""
        reason, spooled = self._reason, self._spooled
        if reason is None and spooled:
            reason = "predictions are being moved from the spool to the prediction log"
        return LogStatus(reason is not None, reason, spooled)

    def check_writable(self) -> None:
        """Check, without waiting, that rows can be made durable in the log or its spool.

        Raises:
            LogUnavailableError: they cannot, as far as is known.
        """
        if self._reason is not None and self._spool_error is not None:
            raise LogUnavailableError(f"{self._reason}; {self._spool_error}")

    def feedback(self, labels: Sequence[Label]) -> FeedbackResult:
        """Store what turned out to be true; of several labels of a prediction the last counts.

        Raises:
            InputError: a label cannot be stored; none of them was.
            LogUnavailableError: the log is away.
        """
        for position, label in enumerate(labels):
            check_label(position, label)

        def store() -> FeedbackResult:
            with self._engine.begin() as connection:
                return store_labels(connection, labels)

        return self._while_there(store)

    def page(self, before: str | None = None, limit: int = 100) -> Page:
        """Return up to `limit` predictions, newest first, older than the cursor `before`.

        Raises:
            InputError: `before` is not the cursor of a page.
            LogUnavailableError: the log is away.
        """
        return self._read(lambda connection: read_page(connection, before, limit))

    def counts(self) -> Counts:
        """Return how many predictions and labels are stored.

        Raises:
            LogUnavailableError: the log is away.
        """
        return self._read(read_counts)

    def _read(self, read: Callable[[sa.Connection], T]) -> T:
        def run() -> T:
            with self._engine.connect().execution_options(**READ_ONLY) as connection:
                return read(connection)

        return self._while_there(run)

    def _while_there(self, action: Callable[[], T]) -> T:
        if self._reason is not None:
            raise LogUnavailableError(f"{self._reason}: try again later")
        try:
            return action()
        except SQLAlchemyError as error:
            raise LogUnavailableError(f"the prediction log is away: {one_line(error)}") from error

    def close(self) -> None:
        """Finish what was accepted, then close all connections; nothing is taken any more."""
        with self._submitting:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        self._threads[0].join()
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._disconnect()

    def _disconnect(self) -> None:
        for store in (self._store, self._mover, self._spool):
            store.close()
        self._engine.dispose()

    def _submit(self, waiting: _Waiting) -> None:
        with self._submitting:
            if self._closed:
                raise LogUnavailableError("the prediction log is closed")
            self._queue.put(waiting)

    # --- The writer's thread

    def _write(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._next_batch()
            requests = [waiting.request for waiting in batch]
            try:
                self._make_durable(requests)
            except Exception as error:
                log.exception("the prediction log failed")
                unanswered = [request for request in requests if request.answer is None]
                _refuse(unanswered, f"the prediction log failed: {one_line(error)}")
            _tell(batch)

    def _next_batch(self) -> tuple[list[_Waiting], bool]:
        """Wait for a request, then take all that are there; True if the log closes."""
        batch: list[_Waiting] = []
        rows = 0
        with suppress(queue.Empty):
            while rows < ROWS_AT_ONCE:
                waiting = self._queue.get() if not batch else self._queue.get_nowait()
                if waiting is None:
                    return batch, True
                batch.append(waiting)
                rows += len(waiting.request.rows)
        return batch, False

    def _make_durable(self, requests: list[Request]) -> None:
        """Write `requests` to the log or, without a key, to the spool; answer each."""
        reason = self._reason
        if reason is None:
            try:
                self._store.write(requests)
                return
            except SQLAlchemyError as error:
                reason = f"the prediction log cannot be written: {one_line(error)}"
                self._leave(reason)
        unanswered = [request for request in requests if request.answer is None]
        # Whether a key was used before, only the log knows.
        keyed = [request for request in unanswered if request.request_id is not None]
        _refuse(keyed, f"{reason}: a request with a key must be tried again later")
        unkeyed = [request for request in unanswered if request.request_id is None]
        if unkeyed:
            self._write_to_spool(unkeyed, reason)

    def _write_to_spool(self, requests: list[Request], reason: str) -> None:
        try:
            with self._counting:
                self._spool.write(requests)
                self._spooled += sum(len(request.rows) for request in requests)
        except LogUnavailableError as error:
            self._spool_error = str(error)
            _refuse(requests, f"{reason}; {error}: try again later")
        else:
            self._spool_error = None

    def _leave(self, reason: str) -> None:
        self._reason = reason
        log.warning("%s; predictions go to the spool %s", reason, self._spool.file)

    # --- Coming back

    def _recover(self) -> None:
        """Try the log again while it is away, and move over what waits in the spool."""
        while True:
            try:
                if self._reason is not None:
                    upgrade(self._engine)
                if self._reason is not None or self._spool.count():
                    self._move_all()
                with self._counting:
                    self._spooled = self._spool.count()
            except (LogUnavailableError, SQLAlchemyError) as error:
                self._note_failure(one_line(error))
            except Exception:  # the thread must live on
                log.exception("the spool cannot be moved over")
            if self._stopping.wait(PROBE_EVERY):
                return

    def _move_all(self) -> None:
        with self._mover.transaction() as connection:
            probe(connection)
        moved = self._spool.move(self._mover)
        if self._reason is not None:
            self._reason = None
            log.warning("the prediction log is back")
        total = moved
        while moved and not self._stopping.is_set():
            moved = self._spool.move(self._mover)
            total += moved
        if total:
            log.warning("moved %s predictions from the spool to the prediction log", total)

    def _note_failure(self, reason: str) -> None:
        if self._reason is None:
            log.warning("the spool %s is not moved over: %s", self._spool.file, reason)
            return
        if reason not in self._reason:
            self._reason = f"the prediction log is away: {reason}"
            log.warning("%s", self._reason)
        try:
            self._spool.open()
            self._spool_error = None
        except LogUnavailableError as error:
            self._spool_error = str(error)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_EVERY):
            self._store.cut_if_stuck()
            self._mover.cut_if_stuck()


def logging_is_on() -> bool:
    """Tell whether a server logs its predictions: it does unless PREDICTION_LOG is off.

    Raises:
        LogUnavailableError: PREDICTION_LOG is neither on nor off.
    """
    return _is_on("PREDICTION_LOG")


def features_are_logged() -> bool:
    """Tell whether features are logged: they are unless MLPIPES_LOG_FEATURES is off.

    Raises:
        LogUnavailableError: MLPIPES_LOG_FEATURES is neither on nor off.
    """
    return _is_on("MLPIPES_LOG_FEATURES")


def _is_on(variable: str) -> bool:
    setting = os.environ.get(variable) or "on"
    if setting.lower() not in ("on", "off"):
        raise LogUnavailableError(f"{variable} must be on or off, not {setting!r}")
    return setting.lower() == "on"


def _may_come_back(engine: sa.Engine, error: Exception) -> bool:
    """Tell a server that is away from one that is set up otherwise than the URL says."""
    if engine.dialect.name != "postgresql" or not isinstance(error, OperationalError):
        return False
    return not any(sign in str(error) for sign in ("authentication failed", "does not exist"))


def _checked(
    rows: list[Prediction], model: ModelIdentity, source: str, request_id: str | None
) -> Request:
    if request_id is not None:
        check_key("request_id", request_id)
    for row in rows:
        if row.entity_id is not None:
            check_key(f"column id, row {row.row_index}", row.entity_id)
    return Request(rows, model, source, request_id)


def _refuse(requests: Sequence[Request], reason: str) -> None:
    for request in requests:
        request.answer = LogUnavailableError(reason)


def _tell(batch: list[_Waiting]) -> None:
    """Answer all; each event loop is woken once."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Waiting]] = {}
    for waiting in batch:
        by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, mine in by_loop.items():
        if loop is None:
            _settle(mine)
        else:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_settle, mine)


def _settle(batch: list[_Waiting]) -> None:
    for waiting in batch:
        answer = waiting.request.answer
        if waiting.future.done():  # the caller has gone
            continue
        if isinstance(answer, list):
            waiting.future.set_result(answer)
        else:
            waiting.future.set_exception(answer or LogUnavailableError("not answered"))
