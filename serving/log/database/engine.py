"""SQLAlchemy engines for the prediction log: SQLite or PostgreSQL, with durable commits."""

from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.log.database.schema import schema_version
from serving.private_files import create_private_file
from serving.secrets import masked

REMEDY = "use a URL such as sqlite:///predictions.db or postgresql://user@host/database"

# Execution options of connections that do not write.
READ_ONLY = {"ml_pipes_read_only": True}

# A longer wait for SQLite's write lock counts as an outage.
LOCK_TIMEOUT_MS = 5_000
# Bounds on waiting for a silent PostgreSQL server: seconds, `tcp_user_timeout` milliseconds.
TIMEOUTS = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
# Settings that a file keeps; auto_vacuum fixes the size of its pages.
PRAGMAS_OF_NEW_FILES = (
    # Rows with their features are long: writing them takes less time than with SQLite's 4096.
    "page_size=8192",
    "auto_vacuum=INCREMENTAL",
)
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    # Deleted rows are overwritten with zeros.
    "secure_delete=ON",
    # Room for the pages of a large group, and fewer pages copied twice.
    "cache_size=-32768",
    "wal_autocheckpoint=2000",
)


def connect(uri: str) -> sa.Engine:
    """Return an engine for the log at `uri`; no connection is opened yet.

    Transactions take SQLite's write lock when they begin, unless the execution options are
    READ_ONLY.

    Raises:
        LogUnavailableError: `uri` is not a URL of SQLite or PostgreSQL.
    """
    url = _parse(uri)
    options: dict[str, Any] = {
        "json_serializer": _to_json,
        "json_deserializer": orjson.loads,
        # A pooled connection may hang for long; opening a new one is bounded by TIMEOUTS.
        "poolclass": sa.NullPool,
    }
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, **options)
        sa.event.listen(engine, "do_connect", _create_private_file)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeouts = {name: value for name, value in TIMEOUTS.items() if name not in url.query}
    engine = sa.create_engine(url, connect_args=timeouts, **options)
    sa.event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _parse(uri: str) -> sa.URL:
    try:
        url = sa.make_url(uri)
    except (SQLAlchemyError, ValueError):  # such as a port that is no number
        raise LogUnavailableError(f"prediction log: not a database URL; {REMEDY}") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise LogUnavailableError(
            f"prediction log {without_password(uri)}: neither SQLite nor PostgreSQL; {REMEDY}"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise LogUnavailableError(f"prediction log: the URL names no file; {REMEDY}")
    return url


def _create_private_file(_: Any, __: Any, arguments: list[Any], ___: Any) -> None:
    # SQLite gives its WAL the mode of the database.
    create_private_file(Path(arguments[0]))


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions, not the driver
    connection.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_MS}")
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        for pragma in PRAGMAS_OF_NEW_FILES:
            connection.execute(f"PRAGMA {pragma}")
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # Taking the write lock at once avoids the deadlock of two readers that both want to write.
    read_only = connection.get_execution_options().get("ml_pipes_read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    # A server may be configured to lose commits that it has confirmed.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def without_password(uri: str | sa.URL) -> str:
    """Return `uri` with its secrets hidden."""
    try:
        return masked(sa.make_url(uri).render_as_string(hide_password=True))
    except (SQLAlchemyError, ValueError):
        return "(unreadable URL)"


def probe(connection: sa.Connection) -> None:
    """Write to the log without changing it, which fails on a full disk or a lost server."""
    connection.execute(schema_version.update().values(version=schema_version.c.version))
