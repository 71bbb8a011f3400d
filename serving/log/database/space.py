"""Reclaiming of the disk space of deleted rows, while servers write."""

import logging
import sqlite3
import time
from typing import Any

import sqlalchemy as sa

from serving.errors import LogUnavailableError, one_line
from serving.log.database.engine import READ_ONLY
from serving.log.database.schema import has_shadow_predictions, shadow_predictions

logger = logging.getLogger("ml-pipes")

# Servers wait for a portion, and for as long have the log to themselves after it.
PORTION_PAGES = 1_000
INCREMENTAL = 2
# SQLite rewrites as many pages within a second, which requests can wait for.
SMALL_PAGES = 5_000
# Servers cannot write while a checkpoint waits for readers.
CHECKPOINT_WAIT_MS = 200
CHECKPOINT_SECONDS = 30.0
REMEDY = "run purge_predictions again"


def compact(engine: sa.Engine) -> None:
    """Reclaim the space of deleted rows, so that their bytes are gone from the files.

    SQLite logs of earlier releases are rewritten once, if they are small or nobody uses them.

    Raises:
        SQLAlchemyError: PostgreSQL is unavailable.
        LogUnavailableError: the log is locked, the disk is full, or a reader keeps deleted bytes
            in a file.
    """
    outside = engine.execution_options(isolation_level="AUTOCOMMIT", **READ_ONLY)
    with outside.connect() as connection:
        if engine.dialect.name == "postgresql":
            tables = "predictions, ground_truth"
            if has_shadow_predictions(connection):
                tables += f", {shadow_predictions.name}"
            connection.exec_driver_sql(f"VACUUM {tables}")
            return
        raw = connection.connection.driver_connection
        try:
            _compact_sqlite(raw, str(engine.url.database))
        except sqlite3.Error as error:
            raise LogUnavailableError(
                f"{engine.url.database}: the space of deleted rows cannot be reclaimed: "
                f"{one_line(error)}; {REMEDY}"
            ) from error


def _compact_sqlite(raw: Any, file: str) -> None:
    if _number(raw, "auto_vacuum") == INCREMENTAL:
        _release_pages(raw)
    else:
        _convert(raw, file)
    _truncate_wal(raw, file)


def _release_pages(raw: Any) -> None:
    while _number(raw, "freelist_count"):
        start = time.monotonic()
        # `execute` would take one step, which releases one page.
        raw.executescript(f"PRAGMA incremental_vacuum({PORTION_PAGES})")
        time.sleep(time.monotonic() - start)


def _convert(raw: Any, file: str) -> None:
    """Rewrite a log of an earlier release, so that it can be compacted in portions later."""
    n_free = _number(raw, "freelist_count")
    is_small = _number(raw, "page_count") - n_free <= SMALL_PAGES
    alone = not is_small and _is_alone(raw)
    if not (is_small or alone):
        logger.warning(
            "%s is in use: deleted rows are overwritten, but the file keeps their %s MB for new "
            "rows; to shrink it, stop all servers once and run purge_predictions again",
            file,
            f"{n_free * _number(raw, 'page_size') / 1e6:,.0f}",
        )
        return
    raw.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
    try:
        raw.execute("VACUUM")
    finally:
        if alone:
            raw.execute("PRAGMA journal_mode=WAL")
    logger.info("%s was converted; later purges reclaim space while servers run", file)


def _is_alone(raw: Any) -> bool:
    """Return whether nobody else has the log open, and leave the WAL mode if so."""
    waiting = _number(raw, "busy_timeout")
    raw.execute(f"PRAGMA busy_timeout={CHECKPOINT_WAIT_MS}")
    try:
        (mode,) = raw.execute("PRAGMA journal_mode=DELETE").fetchone()
        return bool(mode == "delete")
    except sqlite3.OperationalError:
        return False
    finally:
        raw.execute(f"PRAGMA busy_timeout={waiting}")


def _truncate_wal(raw: Any, file: str) -> None:
    raw.execute(f"PRAGMA busy_timeout={CHECKPOINT_WAIT_MS}")
    end = time.monotonic() + CHECKPOINT_SECONDS
    while True:
        raw.execute("PRAGMA wal_checkpoint(PASSIVE)")  # leaves little to do while locked
        (in_use, *_) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not in_use:
            return
        if time.monotonic() > end:
            raise LogUnavailableError(
                f"{file}: deleted bytes remain, because another process is reading it; {REMEDY}"
            )
        time.sleep(CHECKPOINT_WAIT_MS / 1000)


def _number(raw: Any, pragma: str) -> int:
    return int(raw.execute(f"PRAGMA {pragma}").fetchone()[0])
