"""Where predictions wait while their log is away: a SQLite file, durable like the log itself."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.schema import READ_ONLY, compact, connect, one_line, predictions, probe, upgrade
from serving.store import COLUMNS, Request, Store

DEFAULT_FOLDER = "prediction-spool"
MOVED_AT_ONCE = 1_000
CREATED_AT = COLUMNS.index("created_at")


def spool_file(log: sa.URL) -> Path:
    """Return the spool of a log on this machine; its processes share it."""
    if log.get_backend_name() == "sqlite":
        log = log.set(database=str(Path(log.database or "").absolute()))
    name = hashlib.sha256(log.set(password=None).render_as_string().encode()).hexdigest()[:12]
    return Path(os.environ.get("MLPIPES_SPOOL") or DEFAULT_FOLDER) / f"{name}.db"


class Spool:
    """The predictions of one log that are not in it yet; has the tables of a log."""

    def __init__(self, file: Path, log_features: bool = True) -> None:
        self.file = file
        self._engine = connect(f"sqlite:///{file.absolute()}")
        self._store = Store(self._engine, log_features)
        self._ready = False

    def open(self) -> None:
        """Make sure that the file is there and can be written.

        Raises:
            LogUnavailableError: it cannot.
        """
        try:
            if not self._there():
                self.file.parent.mkdir(parents=True, exist_ok=True)
                upgrade(self._engine)
                self._ready = True
            with self._engine.begin() as connection:
                probe(connection)
        except (OSError, SQLAlchemyError) as error:
            raise LogUnavailableError(f"spool {self.file}: {one_line(error)}") from error

    def write(self, requests: Sequence[Request]) -> None:
        """Make `requests` durable and set their answers.

        Raises:
            LogUnavailableError: the spool cannot be written.
        """
        if not self._there():
            self.open()
        try:
            self._store.write(requests)
        except SQLAlchemyError as error:
            raise LogUnavailableError(f"spool {self.file}: {one_line(error)}") from error

    def _there(self) -> bool:
        return self._ready and self.file.exists()

    def count(self) -> int:
        """Return the number of rows that wait.

        Raises:
            SQLAlchemyError: the spool cannot be read.
        """
        if not self._there():
            return 0
        with self._engine.connect().execution_options(**READ_ONLY) as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(predictions)
            ).scalar_one()

    def move(self, log: Store) -> int:
        """Move some rows into the log; return how many, 0 when none is left.

        They leave the spool after they are durable in the log, which ignores what it has: a
        crash between the two moves them again, to no effect.

        Raises:
            SQLAlchemyError: the log or the spool cannot be written.
        """
        if not self._there():
            return 0
        oldest = (
            sa.select(*(_as_text(predictions.c[name]) for name in COLUMNS))
            .order_by("created_at", "prediction_id")
            .limit(MOVED_AT_ONCE)
        )
        with self._engine.connect().execution_options(**READ_ONLY) as connection:
            rows = [
                (*row[:CREATED_AT], log.moment(row[CREATED_AT]), *row[CREATED_AT + 1 :])
                for row in connection.execute(oldest)
            ]
        if not rows:
            return 0
        with log.transaction() as connection:
            log.insert(connection, rows, ignore_present=True)
        ids = [row[0] for row in rows]
        with self._engine.begin() as connection:
            connection.execute(predictions.delete().where(predictions.c.prediction_id.in_(ids)))
        return len(rows)

    def compact(self) -> None:
        """Remove what is left in the file of rows that were moved.

        Raises:
            SQLAlchemyError: the spool is in use.
        """
        compact(self._engine)

    def close(self) -> None:
        """Close all connections."""
        self._store.close()
        self._engine.dispose()


@contextmanager
def emptied_spool(log: sa.Engine) -> Iterator[Spool | None]:
    """Move what waits for `log` on this machine into it; None if it has no spool here.

    Raises:
        LogUnavailableError: it cannot be moved.
    """
    file = spool_file(log.url)
    if not file.exists():
        yield None
        return
    spool, store = Spool(file), Store(log)
    try:
        spool.open()
        while spool.move(store):
            pass
        store.close()
        yield spool
    except SQLAlchemyError as error:
        raise LogUnavailableError(f"spool {file} cannot be moved: {one_line(error)}") from error
    finally:
        store.close()
        spool.close()


def _as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Leave JSON as it is stored."""
    return sa.type_coerce(column, sa.String) if isinstance(column.type, sa.JSON) else column
