"""Schema versions of the prediction log, and migrations from older ones.

A log without a table `schema_version` has version 1. `upgrade` applies one function for each
version up to `SCHEMA_VERSION`, all in one transaction. (Alembic is not among the few packages
that a champion is served with.)
"""

import logging
from collections.abc import Callable

import sqlalchemy as sa

from serving.errors import LogUnavailableError
from serving.log.database.engine import READ_ONLY, without_password
from serving.log.database.schema import metadata, order_index, predictions, schema_version

logger = logging.getLogger("ml-pipes")

# How long to wait for another process that may be upgrading a large log.
UPGRADE_TIMEOUT_MS = 600_000


def _to_2(connection: sa.Connection) -> None:
    """Make features optional, index by time, and link labels by entity to their predictions."""
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
        "PRAGMA legacy_alter_table=ON",  # keeps the user's views unchanged
        "ALTER TABLE predictions_2 RENAME TO predictions",
        "PRAGMA legacy_alter_table=OFF",
    ):
        connection.execute(sa.text(change))


def _index_order(connection: sa.Connection) -> None:
    """Create the index of the order of predictions, which earlier releases did not have."""
    if _has_order_index(connection):
        return
    logger.warning("prediction log: creating an index, once; this takes seconds per million rows")
    connection.execute(sa.text("DROP INDEX IF EXISTS ix_predictions_by_time"))
    order_index.create(connection)


def _has_order_index(connection: sa.Connection) -> bool:
    indexes = sa.inspect(connection).get_indexes(predictions.name)
    return any(index["name"] == order_index.name for index in indexes)


MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {2: _to_2}
SCHEMA_VERSION = max(MIGRATIONS)


def upgrade(engine: sa.Engine) -> None:
    """Create missing tables and migrate an older log; safe in several processes at once.

    Raises:
        LogUnavailableError: the log is newer than this code.
        SQLAlchemyError: the database cannot be reached or written.
    """
    with engine.connect().execution_options(**READ_ONLY) as connection:
        if version_of(connection) == SCHEMA_VERSION and _has_order_index(connection):
            return
    with engine.connect() as connection:
        _wait_long_for_lock(connection)
        _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    with connection.begin():
        lock_upgrades(connection)
        version = version_of(connection)
        if version > SCHEMA_VERSION:
            raise LogUnavailableError(
                f"prediction log {without_password(connection.engine.url)} has schema version "
                f"{version}, this code knows up to {SCHEMA_VERSION}: update ml-pipes"
            )
        for target in range(max(version, 1) + 1, SCHEMA_VERSION + 1) if version else ():
            MIGRATIONS[target](connection)
        metadata.create_all(connection)
        _index_order(connection)
        connection.execute(schema_version.delete())
        connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))


def lock_upgrades(connection: sa.Connection) -> None:
    """Let one transaction at a time change tables; those of SQLite hold its write lock anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7221)"))


def _wait_long_for_lock(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute(f"PRAGMA busy_timeout={UPGRADE_TIMEOUT_MS}")


def version_of(connection: sa.Connection) -> int:
    """Return the schema version of the log, 0 if there is none."""
    tables = sa.inspect(connection).get_table_names()
    if "schema_version" in tables:
        return int(connection.execute(sa.select(schema_version.c.version)).scalar_one())
    return int("predictions" in tables)
