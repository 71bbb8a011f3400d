"""The spool: a durable SQLite file for predictions while their log is unavailable."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError, one_line
from serving.log.database.engine import READ_ONLY, connect, probe
from serving.log.database.migrations import upgrade
from serving.log.database.schema import predictions
from serving.log.database.space import compact
from serving.log.write_request import WriteRequest
from serving.log.writer import LogWriter
from serving.private_files import create_private_folder
from serving.secrets import HIDDEN, SECRET_PARAMETERS
from serving.settings import read_log_settings

ROWS_PER_MOVE = 1_000
CREATED_AT = predictions.c.keys().index("created_at")
# Parameters of a PostgreSQL URL that select the server, the database or the schema.
IDENTITY_PARAMETERS = ("dbname", "host", "hostaddr", "options", "port", "service", "user")
DEFAULT_PORT = 5432


def spool_file(log: sa.URL) -> Path:
    """Return the spool file of a log on this machine, which all processes share.

    Its name depends on the database, not on the spelling of its URL.
    """
    return _named_after(_canonical(log))


def _canonical(log: sa.URL) -> sa.URL:
    """Return the URL of the same database in the spelling that names its spool."""
    if log.get_backend_name() == "sqlite":
        file = Path(log.database or "").resolve()
        return log.set(drivername="sqlite", database=str(file), query={})
    port = log.port or int(os.environ.get("PGPORT") or DEFAULT_PORT)
    return sa.URL.create(
        log.drivername,
        log.username,
        password=HIDDEN,  # always there, as in most URLs: their spools keep their names
        host=log.host and log.host.lower(),
        port=None if port == DEFAULT_PORT else port,
        database=log.database,
        query={name: log.query[name] for name in IDENTITY_PARAMETERS if name in log.query},
    )


def earlier_spool_files(log: sa.URL) -> list[Path]:
    """Return the spool files of earlier releases, whose names depend on the URL's spelling.

    Before that, they depended on passwords in its query, too.
    """
    if log.get_backend_name() == "sqlite":
        log = log.set(database=str(Path(log.database or "").absolute()))
    names = [_named_after(log.difference_update_query(SECRET_PARAMETERS)), _named_after(log)]
    return [file for file in dict.fromkeys(names) if file != spool_file(log)]


def _named_after(log: sa.URL) -> Path:
    name = hashlib.sha256(log.render_as_string().encode()).hexdigest()[:12]
    return read_log_settings().spool_folder / f"{name}.db"


class Spool:
    """The predictions of one log that are not in it yet, in tables like those of the log."""

    def __init__(self, file: Path, log_features: bool = True) -> None:
        self.file = file
        self._engine = connect(f"sqlite:///{file.absolute()}")
        self._writer = LogWriter(self._engine, log_features)
        self._ready = False

    def open(self) -> None:
        """Create the file if it is missing, and check that it is writable.

        Raises:
            LogUnavailableError: it is not.
        """
        try:
            if not self._exists():
                create_private_folder(self.file.parent)
                upgrade(self._engine)
                self._ready = True
            with self._engine.begin() as connection:
                probe(connection)
        except (OSError, SQLAlchemyError) as error:
            raise LogUnavailableError(f"spool {self.file}: {one_line(error)}") from error

    def write(self, requests: Sequence[WriteRequest]) -> None:
        """Make `requests` durable and set their answers.

        Raises:
            LogUnavailableError: the spool cannot be written.
        """
        if not self._exists():
            self.open()
        try:
            self._writer.write(requests)
        except SQLAlchemyError as error:
            raise LogUnavailableError(f"spool {self.file}: {one_line(error)}") from error

    def _exists(self) -> bool:
        return self._ready and self.file.exists()

    def take_over(self, files: Iterable[Path]) -> None:
        """Move the rows of earlier spools, those of `files` that exist, into this spool.

        Raises:
            LogUnavailableError: a spool cannot be read or written.
        """
        for file in filter(Path.exists, files):
            earlier = Spool(file)
            try:
                earlier.open()
                earlier.empty_into(self._writer)
            except SQLAlchemyError as error:
                raise LogUnavailableError(f"spool {file}: {one_line(error)}") from error
            finally:
                earlier.close()

    def count(self) -> int:
        """Return the number of rows in the spool.

        Raises:
            SQLAlchemyError: the spool cannot be read.
        """
        if not self._exists():
            return 0
        with self._engine.connect().execution_options(**READ_ONLY) as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(predictions)
            ).scalar_one()

    def move(self, log: LogWriter) -> int:
        """Move the oldest rows into the log; return their number, 0 if the spool is empty.

        Rows are deleted after they are durable in the log, which ignores rows that it holds:
        after a crash in between they are moved again, to no effect.

        Raises:
            SQLAlchemyError: the log or the spool cannot be written.
        """
        if not self._exists():
            return 0
        rows = self._oldest(log)
        if not rows:
            return 0
        log.insert_missing(rows)
        ids = [row[0] for row in rows]
        with self._engine.begin() as connection:
            connection.execute(predictions.delete().where(predictions.c.prediction_id.in_(ids)))
        return len(rows)

    def empty_into(self, log: LogWriter) -> None:
        """Move all rows into the log.

        Raises:
            SQLAlchemyError: the log or the spool cannot be written.
        """
        while self.move(log):
            pass

    def _oldest(self, log: LogWriter) -> list[tuple[Any, ...]]:
        """Return the oldest rows as the driver of `log` takes them."""
        oldest = (
            sa.select(*map(_as_text, predictions.c))
            .order_by(predictions.c.created_at, predictions.c.prediction_id)
            .limit(ROWS_PER_MOVE)
        )
        with self._engine.connect().execution_options(**READ_ONLY) as connection:
            return [
                (*row[:CREATED_AT], log.encode_time(row[CREATED_AT]), *row[CREATED_AT + 1 :])
                for row in connection.execute(oldest)
            ]

    def compact(self) -> None:
        """Remove the bytes of moved rows from the file.

        Raises:
            LogUnavailableError: the spool is in use.
        """
        compact(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._writer.close()
        self._engine.dispose()


@contextmanager
def emptied_spool(log: sa.Engine) -> Iterator[Spool | None]:
    """Move this machine's spool of `log` into it; yield the spool, None if there is none.

    Raises:
        LogUnavailableError: the spool cannot be moved.
    """
    file, earlier = spool_file(log.url), earlier_spool_files(log.url)
    if not any(path.exists() for path in (file, *earlier)):
        yield None
        return
    spool = Spool(file)
    try:
        _empty(spool, earlier, LogWriter(log))
        yield spool
    finally:
        spool.close()


def _empty(spool: Spool, earlier: Iterable[Path], writer: LogWriter) -> None:
    try:
        spool.open()
        spool.take_over(earlier)
        spool.empty_into(writer)
    except SQLAlchemyError as error:
        raise LogUnavailableError(
            f"spool {spool.file} cannot be moved: {one_line(error)}"
        ) from error
    finally:
        writer.close()


def _as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a column as stored: JSON is neither parsed nor written anew."""
    return sa.type_coerce(column, sa.String) if isinstance(column.type, sa.JSON) else column
