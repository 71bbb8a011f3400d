"""Quick reads of the prediction log on connections that stay open."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from serving.log.database.engine import READ_ONLY
from serving.log.database.watched_connection import WatchedConnection, repeat_if_lost

# A read that PostgreSQL has not answered by then is aborted.
READ_SECONDS = 10.0

T = TypeVar("T")


class LogReader:
    """Runs read-only transactions for many threads, watched by `abort_if_stuck`.

    A new connection of PostgreSQL takes longer than a page of predictions. There are as many
    connections as there were threads that read at the same time.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(**READ_ONLY)
        self._connections: list[WatchedConnection] = []
        self._idle: deque[WatchedConnection] = deque()

    def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Return the result of `query` in a read-only transaction.

        Raises:
            SQLAlchemyError: the log cannot be read, or does not answer in time.
        """
        connection = self._take()
        try:
            return repeat_if_lost(lambda: _run(connection, query))
        finally:
            self._idle.append(connection)

    def abort_if_stuck(self) -> None:
        """Abort reads that a PostgreSQL server does not answer."""
        for connection in list(self._connections):
            connection.abort_if_stuck()

    def close(self) -> None:
        """Close the connections that no thread is using; a later read opens a new one."""
        for connection in list(self._idle):
            connection.close()

    def _take(self) -> WatchedConnection:
        try:
            return self._idle.pop()
        except IndexError:
            connection = WatchedConnection(self._engine, READ_SECONDS)
            self._connections.append(connection)
            return connection


def _run(connection: WatchedConnection, query: Callable[[sa.Connection], T]) -> T:
    with connection.transaction() as transaction:
        return query(transaction)
