"""A connection to the prediction log that stays open, and is aborted if its server hangs."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

STUCK_SECONDS = 3.0
# A connection that fails sooner was lost while idle.
LOST_WHILE_IDLE_SECONDS = 1.0

T = TypeVar("T")


class WatchedConnection:
    """A connection that stays open between transactions, used by one thread at a time.

    Another thread calls `abort_if_stuck` at intervals.
    """

    def __init__(self, engine: sa.Engine, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._engine = engine
        self._stuck_seconds = stuck_seconds
        self._connection: sa.Connection | None = None
        self._driver: Any = None
        self._file: tuple[int, int] | None = None
        self._busy_since: float | None = None
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Run a transaction; any error closes the connection."""
        self.note_progress()
        try:
            connection = self._connected()
            with connection.begin():
                yield connection
        except BaseException:
            self.close()
            raise
        finally:
            self._busy_since = None

    def note_progress(self) -> None:
        """Note that the server has answered: a slow transaction is not a stuck one."""
        self._busy_since = time.monotonic()

    def abort_if_stuck(self) -> None:
        """Abort a transaction that has waited too long for a PostgreSQL server.

        The server may be stopped or the network gone; no setting of the driver bounds that wait.
        """
        since = self._busy_since
        if since is None or time.monotonic() - since < self._stuck_seconds:
            return
        with self._lock:
            driver = self._driver
            if driver is None or self._engine.dialect.name != "postgresql" or driver.closed:
                return
            # A connection that was lost in the meantime is no longer stuck.
            lost = (OSError, self._engine.dialect.loaded_dbapi.OperationalError)
            with suppress(*lost), socket.socket(fileno=os.dup(driver.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next transaction opens a new one."""
        with self._lock:
            connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _connected(self) -> sa.Connection:
        """Return the connection, a new one if its SQLite file was removed or replaced."""
        if self._connection is not None and self._file != self._present_file():
            self.close()  # what it writes would be lost with the removed file
        if self._connection is None:
            connection = self._engine.connect()
            if self._engine.dialect.name == "sqlite":
                # Else each statement of many rows creates a file in TMPDIR, whose disk may be full.
                # Not for all connections: VACUUM would hold a copy of the log in memory.
                connection.connection.execute("PRAGMA temp_store=MEMORY")
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


def repeat_if_lost(transaction: Callable[[], T]) -> T:
    """Run a transaction, and once more if its connection was lost before it."""
    started = time.monotonic()
    try:
        return transaction()
    except DBAPIError as error:
        if not was_lost_while_idle(error, started):
            raise
        return transaction()


def was_lost_while_idle(error: DBAPIError, started: float) -> bool:
    """Return whether a transaction failed because the connection had been lost before it.

    Args:
        error: the error.
        started: time.monotonic() at the start of the transaction.
    """
    quick = time.monotonic() - started < LOST_WHILE_IDLE_SECONDS
    return error.connection_invalidated and quick
