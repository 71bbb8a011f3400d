"""The prediction log: rows are durable in a database before their request is answered.

SQLite by default (write-ahead log, synchronous=FULL: a commit survives a crash), PostgreSQL by
URL. While the database is unavailable, rows go to a durable spool on this machine, from where
they are moved to the log exactly once. Three threads do this:

- `group_commit` commits all waiting requests in one transaction, then answers them;
- `recovery` retries an unavailable log and moves the spool into it;
- a watch aborts transactions that PostgreSQL does not answer.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from serving.errors import LogUnavailableError, one_line, unavailable
from serving.log.database.engine import connect, without_password
from serving.log.database.migrations import upgrade
from serving.log.database.refusal import is_misconfigured
from serving.log.ground_truth import FeedbackResult, Label, check_label, store_labels
from serving.log.group_commit import GroupCommitter
from serving.log.queries import Counts, Page, StoredPrediction, read_page
from serving.log.reader import LogReader
from serving.log.recovery import Recovery, StuckConnectionWatch
from serving.log.row_counts import RowCounter
from serving.log.spool import Spool, earlier_spool_files, spool_file
from serving.log.status import LogHealth, LogStatus
from serving.log.write_request import checked_request
from serving.log.writer import LogWriter
from serving.model.prediction import ModelIdentity, Prediction
from serving.private_files import mention_if_open
from serving.settings import read_log_settings

logger = logging.getLogger("ml-pipes")

T = TypeVar("T")


class PredictionLog:
    """A log of predictions in one database, for many threads and processes at once."""

    def __init__(self, uri: str | None = None) -> None:
        """Open the log at `uri` (default: PREDICTION_LOG_URI), and create or migrate its tables.

        An unreachable PostgreSQL server is not an error: rows are spooled until it is back.

        Raises:
            LogUnavailableError: the URL is wrong, the log is newer than this code, or rows can
                be stored neither in the log nor in its spool.
            SettingsError: an environment variable has an invalid value.
        """
        settings = read_log_settings()
        uri = uri or settings.uri
        self._engine = connect(uri)
        self._writer = LogWriter(self._engine, settings.features)
        self._mover = LogWriter(self._engine, settings.features)
        self._reader = LogReader(self._engine)
        self._spool = Spool(spool_file(self._engine.url), settings.features)
        self._health = LogHealth(self._spool.file)
        try:
            self._open_spool()
            self._open_log(uri)
        except LogUnavailableError:
            self._disconnect()
            raise
        self._counter = RowCounter()
        self._committer = GroupCommitter(self._writer, self._spool, self._health)
        self._recovery = Recovery(self._engine, self._mover, self._spool, self._health)
        self._watch = StuckConnectionWatch([self._writer, self._mover, self._reader])
        self._mention_open_files()
        for thread in (self._committer, self._recovery, self._watch):
            thread.start()

    def _open_spool(self) -> None:
        try:
            self._spool.open()
            self._spool.take_over(earlier_spool_files(self._engine.url))
            self._health.spooled = self._spool.count()
        except (LogUnavailableError, SQLAlchemyError) as error:
            reason = self._health.spool_error = one_line(error)
            logger.warning(
                "spool unavailable, so requests will fail if the prediction log goes down: %s",
                reason,
            )

    def _open_log(self, uri: str) -> None:
        try:
            upgrade(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            message = f"prediction log {without_password(uri)} cannot be opened: {one_line(error)}"
            if self._health.spool_error or not _may_recover(self._engine, error):
                raise LogUnavailableError(message) from error
            self._health.log_failed(message)

    def _mention_open_files(self) -> None:
        paths = [self._spool.file.parent, self._spool.file]
        if self._engine.dialect.name == "sqlite":
            paths.append(Path(self._engine.url.database or ""))
        for path in paths:
            mention_if_open(path)

    def record(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows` durably.

        Args:
            rows: predictions of one request.
            model: the model that made them.
            source: the server that answers with them.
            request_id: makes a retry safe: rows under a stored id are not stored again.

        Returns:
            The rows to answer with: `rows`, or those of the first attempt at `request_id`.

        Raises:
            InputError: `request_id` or the entity id of a row cannot be stored.
            RequestConflictError: `request_id` was used before with other rows.
            LogUnavailableError: the rows could not be stored; try again.
        """
        if not rows:
            return rows
        return self._committer.write(checked_request(rows, model, source, request_id))

    async def record_async(
        self,
        rows: list[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows` as `record` does, without blocking the event loop."""
        if not rows:
            return rows
        return await self._committer.write_async(checked_request(rows, model, source, request_id))

    def status(self) -> LogStatus:
        """Return the status of the log, without waiting."""
        return self._health.status()

    def check_writable(self) -> None:
        """Check, without waiting, that rows could last be stored in the log or its spool.

        Raises:
            LogUnavailableError: they could not.
        """
        self._health.check_writable()

    def feedback(self, labels: Sequence[Label]) -> FeedbackResult:
        """Store ground-truth labels; of several labels for a prediction, the last one counts.

        Raises:
            InputError: a label cannot be stored; none is stored then.
            LogUnavailableError: the log is unavailable.
        """
        for position, label in enumerate(labels):
            check_label(position, label)

        def store() -> FeedbackResult:
            with self._engine.begin() as connection:
                return store_labels(connection, labels)

        return self._if_available(store)

    def page(self, before: str | None = None, limit: int = 100) -> Page:
        """Return up to `limit` predictions, newest first, older than the cursor `before`.

        Raises:
            InputError: `before` is not the cursor of a page.
            LogUnavailableError: the log is unavailable.
        """
        return self._read(lambda connection: read_page(connection, before, limit))

    def overview(self, max_counted: int, recent: int) -> tuple[Counts, list[StoredPrediction]]:
        """Return the numbers up to a limit, and the newest predictions, from one connection.

        A table that has reached the limit is not counted again for a while (see `RowCounter`).

        Raises:
            LogUnavailableError: the log is unavailable.
        """

        def read(connection: sa.Connection) -> tuple[Counts, list[StoredPrediction]]:
            counts = self._counter.count(connection, max_counted)
            return counts, read_page(connection, None, recent).predictions

        return self._read(read)

    def _read(self, query: Callable[[sa.Connection], T]) -> T:
        return self._if_available(lambda: self._reader.read(query))

    def _if_available(self, action: Callable[[], T]) -> T:
        self._health.check_log()
        try:
            return action()
        except SQLAlchemyError as error:
            logger.warning("%s", unavailable(error))
            raise unavailable(error) from error

    def close(self) -> None:
        """Store and answer all accepted rows, then close the log; new rows are refused."""
        if self._committer.close():
            self._recovery.stop()
            self._watch.stop()
            self._disconnect()

    def _disconnect(self) -> None:
        for connected in (self._writer, self._mover, self._reader, self._spool):
            connected.close()
        self._engine.dispose()


def _may_recover(engine: sa.Engine, error: Exception) -> bool:
    """Return whether retrying may help: PostgreSQL is unreachable, not configured otherwise."""
    if engine.dialect.name != "postgresql" or not isinstance(error, OperationalError):
        return False
    return not is_misconfigured(engine, error)
