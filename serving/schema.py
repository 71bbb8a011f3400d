"""The tables of the prediction log, the versions they went through, and how to open them.

A log without a table `schema_version` is of version 1. `upgrade` brings any older log to
`SCHEMA_VERSION`, one small function a version, in one transaction.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.prediction import LONGEST_KEY

URI_VARIABLE = "PREDICTION_LOG_URI"
DEFAULT_URI = "sqlite:///predictions.db"
READ_ONLY = {"ml_pipes_read_only": True}

# Another process may hold SQLite's write lock this long before the database counts as away.
LOCKED_FOR_MS = 5_000
UPGRADED_WITHIN_MS = 600_000
# Of a PostgreSQL server that is gone without a word; in seconds, the second in milliseconds.
TIMEOUTS = {
    "connect_timeout": 2,
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment; aware and in UTC in Python, whatever the database hands back."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: sa.Dialect) -> datetime | None:
        """Return `value` in UTC: SQLite keeps no time zone."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: sa.Dialect) -> datetime | None:
        """Return `value` with its time zone."""
        if value is None or value.tzinfo is not None:
            return value if value is None else value.astimezone(UTC)
        return value.replace(tzinfo=UTC)


metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String(36), primary_key=True),
    sa.Column("request_id", sa.String(LONGEST_KEY)),
    sa.Column("row_index", sa.Integer, nullable=False),
    sa.Column("entity_id", sa.String(LONGEST_KEY)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("model_name", sa.String(LONGEST_KEY)),
    sa.Column("model_version", sa.String(32)),
    sa.Column("run_id", sa.String(64)),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("features", sa.JSON(none_as_null=True)),
    sa.Column("source", sa.String(64), nullable=False),
    # Of a request with a key whose features are not logged: what a retry must repeat.
    sa.Column("content_digest", sa.String(64)),
    sa.Index("ix_predictions_by_time", "created_at"),
)
for _name, _columns in {"request": ["request_id"], "entity": ["entity_id", "created_at"]}.items():
    _set = predictions.c[_columns[0]].is_not(None)
    sa.Index(
        f"ix_predictions_by_{_name}",
        *(predictions.c[column] for column in _columns),
        sqlite_where=_set,
        postgresql_where=_set,
    )

ground_truth = sa.Table(
    "ground_truth",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("prediction_id", sa.String(36), index=True),
    sa.Column("entity_id", sa.String(LONGEST_KEY), index=True),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("observed_at", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
)

schema_version = sa.Table(
    "schema_version", metadata, sa.Column("version", sa.Integer, nullable=False)
)


def _to_2(connection: sa.Connection) -> None:
    """Features may be left out; indexes by time; a label of an entity names its prediction."""
    for old in sa.inspect(connection).get_indexes("predictions"):
        connection.execute(sa.text(f'DROP INDEX "{old["name"]}"'))
    if connection.dialect.name == "sqlite":  # it cannot drop a NOT NULL
        _rebuild_sqlite(connection)
    else:
        for change in ("ALTER COLUMN features DROP NOT NULL", "ADD content_digest VARCHAR(64)"):
            connection.execute(sa.text(f"ALTER TABLE predictions {change}"))
    for index in sorted(predictions.indexes, key=lambda index: str(index.name)):
        index.create(connection)
    connection.execute(
        sa.text(
            "UPDATE ground_truth SET prediction_id = (SELECT p.prediction_id FROM predictions p "
            "WHERE p.entity_id = ground_truth.entity_id "
            "AND p.created_at < ground_truth.observed_at "
            "ORDER BY p.created_at DESC, p.row_index DESC LIMIT 1) WHERE prediction_id IS NULL"
        )
    )


def _rebuild_sqlite(connection: sa.Connection) -> None:
    names = ", ".join(c.name for c in predictions.columns if c.name != "content_digest")
    rebuilt = predictions.to_metadata(sa.MetaData(), name="predictions_2")
    connection.execute(sa.schema.CreateTable(rebuilt))
    for change in (
        f"INSERT INTO predictions_2 ({names}) SELECT {names} FROM predictions",  # noqa: S608
        "DROP TABLE predictions",
        "PRAGMA legacy_alter_table=ON",  # leaves views of the user as they are
        "ALTER TABLE predictions_2 RENAME TO predictions",
        "PRAGMA legacy_alter_table=OFF",
    ):
        connection.execute(sa.text(change))


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {2: _to_2}
SCHEMA_VERSION = max(MIGRATIONS)


def connect(uri: str) -> sa.Engine:
    """Return an engine for the log at `uri`; nothing is opened yet.

    Transactions take SQLite's write lock at once, unless the execution options are READ_ONLY.

    Raises:
        LogUnavailableError: it is no URL of SQLite or PostgreSQL.
    """
    try:
        url = sa.make_url(uri)
    except SQLAlchemyError:
        raise LogUnavailableError("prediction log: not a database URL") from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise LogUnavailableError(
            f"prediction log {without_password(uri)}: use a sqlite:// or postgresql:// URL"
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise LogUnavailableError("prediction log: SQLite needs a file, sqlite:///predictions.db")
    options: dict[str, Any] = {
        "json_serializer": _to_json,
        "json_deserializer": orjson.loads,
        "poolclass": sa.NullPool,  # an old connection may hang, the making of a new one ends
    }
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, **options)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeouts = {name: value for name, value in TIMEOUTS.items() if name not in url.query}
    engine = sa.create_engine(url, connect_args=timeouts, **options)
    sa.event.listen(engine, "connect", _prepare_postgresql)
    return engine


def upgrade(engine: sa.Engine) -> None:
    """Create what is missing and bring an older log up to date; several processes may at once.

    Raises:
        LogUnavailableError: the log is newer than this code.
        SQLAlchemyError: the database cannot be reached or written.
    """
    with engine.connect().execution_options(**READ_ONLY) as connection:
        if _version(connection) == SCHEMA_VERSION:
            return
    with engine.connect() as connection:
        _be_patient(connection)
        _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7221)"))
        version = _version(connection)
        if version > SCHEMA_VERSION:
            raise LogUnavailableError(
                f"prediction log {without_password(connection.engine.url)} has schema version "
                f"{version}, this code knows up to {SCHEMA_VERSION}: update ml-pipes"
            )
        for target in range(max(version, 1) + 1, SCHEMA_VERSION + 1) if version else ():
            MIGRATIONS[target](connection)
        metadata.create_all(connection)
        connection.execute(schema_version.delete())
        connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def _be_patient(connection: sa.Connection) -> None:
    """Wait for another process that may be upgrading a large log."""
    if connection.dialect.name == "sqlite":
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute(f"PRAGMA busy_timeout={UPGRADED_WITHIN_MS}")


def open_existing(uri: str) -> sa.Engine:
    """Open a log that is there, upgraded if it is older; never create one.

    Raises:
        LogUnavailableError: none is there, it cannot be reached, or it is newer than this code.
    """
    engine = connect(uri)
    shown = without_password(engine.url)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not (file and Path(file).is_file()):
        raise LogUnavailableError(f"no prediction log at {shown}: set log_uri or {URI_VARIABLE}")
    try:
        with engine.connect().execution_options(**READ_ONLY) as connection:
            found = _version(connection)
        if not found:
            raise LogUnavailableError(
                f"{shown} holds no prediction log: set log_uri or {URI_VARIABLE}"
            )
        upgrade(engine)
    except SQLAlchemyError as error:
        raise LogUnavailableError(
            f"prediction log {shown} cannot be opened: {one_line(error)}"
        ) from error
    return engine


def log_uri(uri: str | None = None) -> str:
    """Return where predictions go: `uri`, else PREDICTION_LOG_URI, else a file in this folder."""
    return uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI


def _version(connection: sa.Connection) -> int:
    """Return the version of the log, 0 if there is none."""
    tables = sa.inspect(connection).get_table_names()
    if "schema_version" in tables:
        return int(connection.execute(sa.select(schema_version.c.version)).scalar_one())
    return int("predictions" in tables)


def probe(connection: sa.Connection) -> None:
    """Write to the log without changing it: this fails on a full disk or a lost server."""
    connection.execute(schema_version.update().values(version=schema_version.c.version))


def compact(engine: sa.Engine) -> None:
    """Give the space of deleted rows back, so that their bytes are gone from the files.

    Raises:
        SQLAlchemyError: the log is locked, or the disk is full.
        LogUnavailableError: the log is being read, so that removed bytes stay in a file.
    """
    outside = engine.execution_options(isolation_level="AUTOCOMMIT", **READ_ONLY)
    with outside.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM predictions, ground_truth")
            return
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("VACUUM")
        (in_use, *_) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if in_use:
            raise LogUnavailableError(
                f"{engine.url.database} is being read, and still holds removed bytes: try again"
            )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are ours, see _begin_sqlite
    for pragma in (
        f"busy_timeout={LOCKED_FOR_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        # Room for the pages of a large group, and fewer of them copied twice.
        "cache_size=-32768",
        "wal_autocheckpoint=4000",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # Taking the write lock at once avoids the deadlock of two readers that both want to write.
    read_only = connection.get_execution_options().get("ml_pipes_read_only")
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    # A server may be set up to lose what it has confirmed.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


def one_line(error: BaseException) -> str:
    """The cause in one line, without SQL and parameters."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def without_password(uri: str | sa.URL) -> str:
    """Return `uri` as it may be shown."""
    try:
        return sa.make_url(uri).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "(unreadable URL)"
