"""Recovery of the prediction log from outages."""

import logging
import threading
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError, one_line
from serving.log.database.migrations import upgrade
from serving.log.database.watched_connection import WatchedConnection
from serving.log.reader import LogReader
from serving.log.spool import Spool
from serving.log.status import LogHealth
from serving.log.writer import LogWriter

logger = logging.getLogger("ml-pipes")

RETRY_SECONDS = 1.0
WATCH_SECONDS = 0.25


class Recovery:
    """A thread that retries an unavailable log and moves spooled predictions into it."""

    def __init__(
        self, engine: sa.Engine, writer: LogWriter, spool: Spool, health: LogHealth
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._spool = spool
        self._health = health
        self._move_error: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="prediction-log-recovery", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the rows that it is moving."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._recover()
            except (LogUnavailableError, SQLAlchemyError) as error:
                self._note_failure(one_line(error))
            except Exception:  # the thread must survive
                logger.exception("moving the spool to the prediction log failed")
            if self._stopping.wait(RETRY_SECONDS):
                return

    def _recover(self) -> None:
        if self._health.log_error is not None:
            upgrade(self._engine)
        if self._health.log_error is not None or self._spool.count():
            self._move_all()
        with self._health.counting:
            self._health.spooled = self._spool.count()

    def _move_all(self) -> None:
        self._writer.probe()
        # Before the spool is touched: that a full spool cannot be emptied is no fault of the log.
        if self._health.log_error is not None:
            self._health.log_error = None
            logger.warning("the prediction log is available again")
        total = moved = self._spool.move(self._writer)
        while moved and not self._stopping.is_set():
            moved = self._spool.move(self._writer)
            total += moved
        self._move_error = None
        if total:
            logger.warning("moved %s predictions from the spool to the prediction log", total)

    def _note_failure(self, reason: str) -> None:
        health = self._health
        if health.log_error is None:
            if reason != self._move_error:
                self._move_error = reason
                logger.warning("the spool %s cannot be moved: %s", self._spool.file, reason)
            return
        if reason not in health.log_error:
            health.log_error = f"the prediction log is unavailable: {reason}"
            logger.warning("%s", health.log_error)
        try:
            self._spool.open()
            health.spool_error = None
        except LogUnavailableError as error:
            health.spool_error = str(error)


class StuckConnectionWatch:
    """A thread that aborts transactions that a PostgreSQL server does not answer."""

    def __init__(self, watched: Sequence[LogWriter | LogReader | WatchedConnection]) -> None:
        self._watched = watched
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for watched in self._watched:
                try:
                    watched.abort_if_stuck()
                except Exception:  # the thread must survive
                    logger.exception("aborting a stuck connection to the prediction log failed")
