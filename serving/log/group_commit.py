"""Group commit: all waiting requests are written in one transaction, then answered."""

import asyncio
import logging
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LOG_UNAVAILABLE, LogUnavailableError, one_line
from serving.log.spool import Spool
from serving.log.status import LogHealth
from serving.log.write_request import WriteRequest
from serving.log.writer import LogWriter
from serving.model.prediction import Prediction

logger = logging.getLogger("ml-pipes")

MAX_GROUP_ROWS = 1_024
UNWRITABLE = "the prediction log cannot be written"
RETRY_KEYED = "a request with a request id must be tried again later"


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request and the future of its answer; `loop` is None if a thread waits."""

    request: WriteRequest
    future: Future[list[Prediction]] | asyncio.Future[list[Prediction]]
    loop: asyncio.AbstractEventLoop | None = None


class GroupCommitter:
    """A thread that writes requests to the log, or to the spool while the log is unavailable."""

    def __init__(self, writer: LogWriter, spool: Spool, health: LogHealth) -> None:
        self._writer = writer
        self._spool = spool
        self._health = health
        self._queue: queue.SimpleQueue[_Waiter | None] = queue.SimpleQueue()
        self._closed = False
        self._submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="prediction-log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def write(self, request: WriteRequest) -> list[Prediction]:
        """Write `request` and return its answer.

        Raises:
            ServingError: the answer is an error.
        """
        future: Future[list[Prediction]] = Future()
        self._submit(_Waiter(request, future))
        return future.result()

    async def write_async(self, request: WriteRequest) -> list[Prediction]:
        """Write `request` and return its answer, without blocking the event loop.

        Raises:
            ServingError: the answer is an error.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Prediction]] = loop.create_future()
        self._submit(_Waiter(request, future, loop))
        return await future

    def close(self) -> bool:
        """Write and answer all accepted requests, then end; return False if closed before."""
        with self._submitting:
            if self._closed:
                return False
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        return True

    def _submit(self, waiter: _Waiter) -> None:
        with self._submitting:
            if self._closed:
                raise LogUnavailableError("the prediction log is closed")
            self._queue.put(waiter)

    def _run(self) -> None:
        closing = False
        while not closing:
            group, closing = self._next_group()
            requests = [waiter.request for waiter in group]
            try:
                self._make_durable(requests)
            except Exception as error:
                logger.exception("the prediction log failed")
                reason = f"the prediction log failed: {one_line(error)}"
                _refuse(_unanswered(requests), reason, LOG_UNAVAILABLE)
            _answer(group)

    def _next_group(self) -> tuple[list[_Waiter], bool]:
        """Wait for a request, then take all that are queued; True if the log is closing."""
        group: list[_Waiter] = []
        rows = 0
        with suppress(queue.Empty):
            while rows < MAX_GROUP_ROWS:
                waiter = self._queue.get() if not group else self._queue.get_nowait()
                if waiter is None:
                    return group, True
                group.append(waiter)
                rows += len(waiter.request.rows)
        return group, False

    def _make_durable(self, requests: list[WriteRequest]) -> None:
        """Write `requests` to the log or, if unkeyed, to the spool; set their answers."""
        reason = self._health.log_error
        if reason is None:
            try:
                self._writer.write(requests)
                return
            except SQLAlchemyError as error:
                reason = f"the prediction log cannot be written: {one_line(error)}"
                self._health.log_failed(reason)
        unanswered = _unanswered(requests)
        # Only the log knows whether a key was used before.
        keyed = [request for request in unanswered if request.request_id is not None]
        _refuse(keyed, f"{reason}: {RETRY_KEYED}", f"{UNWRITABLE}: {RETRY_KEYED}")
        unkeyed = [request for request in unanswered if request.request_id is None]
        if unkeyed:
            self._write_to_spool(unkeyed, reason)

    def _write_to_spool(self, requests: list[WriteRequest], reason: str) -> None:
        health = self._health
        try:
            with health.counting:
                self._spool.write(requests)
                health.spooled += sum(len(request.rows) for request in requests)
        except LogUnavailableError as error:
            health.spool_error = str(error)
            logger.warning("%s", error)
            _refuse(requests, f"{reason}; {error}: try again later", f"{UNWRITABLE}: try again")
        else:
            health.spool_error = None


def _unanswered(requests: Sequence[WriteRequest]) -> list[WriteRequest]:
    return [request for request in requests if request.answer is None]


def _refuse(requests: Sequence[WriteRequest], reason: str, for_callers: str) -> None:
    for request in requests:
        request.answer = LogUnavailableError(reason, for_callers)


def _answer(group: list[_Waiter]) -> None:
    """Answer all requests, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Waiter]] = {}
    for waiter in group:
        by_loop.setdefault(waiter.loop, []).append(waiter)
    for loop, waiters in by_loop.items():
        if loop is None:
            _settle(waiters)
        else:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_settle, waiters)


def _settle(group: list[_Waiter]) -> None:
    for waiter in group:
        answer = waiter.request.answer
        if waiter.future.done():  # cancelled by its caller
            continue
        if isinstance(answer, list):
            waiter.future.set_result(answer)
        else:
            waiter.future.set_exception(answer or LogUnavailableError("not answered"))
