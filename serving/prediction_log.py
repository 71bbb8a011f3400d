"""The prediction log: every answer is durable in a database before it is given.

SQLite by default (write-ahead log, synchronous=FULL: a commit survives a crash), any
SQLAlchemy URL by setting. One transaction holds all rows of a request.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from serving.errors import InputError, LogUnavailableError, RequestConflictError

DEFAULT_URI = "sqlite:///predictions.db"

LONGEST_KEY = 255

metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String(36), primary_key=True),
    sa.Column("request_id", sa.String(LONGEST_KEY), index=True),
    sa.Column("row_index", sa.Integer, nullable=False),
    sa.Column("entity_id", sa.String(LONGEST_KEY), index=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("model_name", sa.String(LONGEST_KEY)),
    sa.Column("model_version", sa.String(32)),
    sa.Column("run_id", sa.String(64)),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("features", sa.JSON, nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
)

ground_truth = sa.Table(
    "ground_truth",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("prediction_id", sa.String(36), index=True),
    sa.Column("entity_id", sa.String(LONGEST_KEY), index=True),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
)


@dataclass(frozen=True)
class Prediction:
    """One scored row, as it is stored and answered. `features` maps names to finite
    numbers, or None where missing.
    """

    prediction_id: str
    row_index: int
    entity_id: str | None
    score: float
    label: int
    threshold: float
    features: dict[str, float | None]


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: `name` and `version` are None outside the registry."""

    name: str | None
    version: str | None
    run_id: str | None


def check_key(field: str, key: str) -> None:
    """Check that a key of the caller can be stored.

    Raises:
        InputError: it is longer than 255 characters or no plain text.
    """
    if len(key) > LONGEST_KEY:
        raise InputError(f"{field}: must have at most {LONGEST_KEY} characters")
    if "\0" in key or any("\ud800" <= character <= "\udfff" for character in key):
        raise InputError(f"{field}: must be plain text")


def prediction_ids(
    n_rows: int, request_id: str | None = None, model_name: str | None = None
) -> list[str]:
    """Return `n_rows` unique ids: time-ordered, or derived from the request's id if it has one.

    Time-ordered ids (UUID version 7, RFC 9562) keep inserts at the end of the index.
    Derived ones (version 8) let a retry meet the rows of its first attempt; a request's id
    means something to one model only.
    """
    if request_id is not None:
        seed = f"{model_name or ''}\0{request_id}"
        digests = (hashlib.sha256(f"{row}\0{seed}".encode()) for row in range(n_rows))
        return [_uuid(8, int.from_bytes(digest.digest()[:16], "big")) for digest in digests]
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(6), "big")
    # The row's number follows the time, around the bits of the version and the variant (12 and
    # 14 of its bits), so that the ids of one request sort as its rows.
    return [
        _uuid(7, milliseconds << 80 | (row >> 14) << 64 | (row & 0x3FFF) << 48 | random)
        for row in range(n_rows)
    ]


def _uuid(version: int, number: int) -> str:
    """Return the UUID that keeps all 128 bits of `number` but the six it must set."""
    number = number & ~(0xF << 76) | version << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))


class PredictionLog:
    """Writes predictions to one database; safe to use from many threads and processes."""

    def __init__(self, uri: str | None = None) -> None:
        """Connect to `uri` (default: PREDICTION_LOG_URI) and create the tables if needed.

        Raises:
            LogUnavailableError: the database cannot be reached or written.
        """
        uri = uri or os.environ.get("PREDICTION_LOG_URI") or DEFAULT_URI
        try:
            self._engine = _connect(uri)
            _create_tables(self._engine)
        except (SQLAlchemyError, ImportError) as error:
            raise LogUnavailableError(
                f"prediction log {_without_password(uri)} cannot be opened: {_first_line(error)}"
            ) from error

    def record(
        self,
        rows: Sequence[Prediction],
        model: ModelIdentity,
        source: str,
        request_id: str | None = None,
    ) -> list[Prediction]:
        """Store `rows` durably and return what to answer: with a `request_id` that was
        stored before, the rows of its first attempt.

        Raises:
            RequestConflictError: `request_id` was used before with other rows.
            LogUnavailableError: the rows could not be stored; none of them was.
        """
        if not rows:
            return []
        now = datetime.now(UTC)
        shared = {
            "request_id": request_id,
            "created_at": now,
            "model_name": model.name,
            "model_version": model.version,
            "run_id": model.run_id,
            "source": source,
        }
        values = [vars(row) | shared for row in rows]
        try:
            if request_id is None:
                with self._engine.begin() as connection:
                    connection.execute(predictions.insert(), values)
                return list(rows)
            try:
                return self._record_once(request_id, model.name, rows, values)
            except IntegrityError:  # another attempt was faster: its rows are there now
                return self._record_once(request_id, model.name, rows, values)
        except SQLAlchemyError as error:
            raise LogUnavailableError(
                f"the prediction log cannot be written: {_first_line(error)}"
            ) from error

    def _record_once(
        self,
        request_id: str,
        model_name: str | None,
        rows: Sequence[Prediction],
        values: list[dict[str, Any]],
    ) -> list[Prediction]:
        """Store the rows of a request unless it has some already; return those that stand.

        Raises:
            IntegrityError: another attempt stored its first row meanwhile; the ids of the
                rows follow from the request's, so that the two collide.
        """
        with self._engine.begin() as connection:
            stored = _stored(connection, request_id, model_name)
            if not stored:
                connection.execute(predictions.insert(), values)
                return list(rows)
        if [_content(row) for row in stored] != [_content(row) for row in rows]:
            raise RequestConflictError(
                f"request id {request_id!r} was used before with other rows: "
                "send new content under a new id"
            )
        return stored

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _stored(connection: sa.Connection, request_id: str, model_name: str | None) -> list[Prediction]:
    fields = Prediction.__dataclass_fields__
    found = connection.execute(
        sa.select(*(predictions.c[name] for name in fields))
        .where(predictions.c.request_id == request_id)
        .where(predictions.c.model_name.is_not_distinct_from(model_name))
        .order_by(predictions.c.row_index)
    )
    return [Prediction(**row) for row in found.mappings()]


def _content(row: Prediction) -> tuple[str | None, str]:
    """What a retry must repeat. The score may differ: a new champion may have come since."""
    return row.entity_id, json.dumps(row.features, sort_keys=True)


def _connect(uri: str) -> sa.Engine:
    url = sa.make_url(uri)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise LogUnavailableError(
            f"prediction log {_without_password(uri)}: use a sqlite:// or postgresql:// URL"
        )
    engine = sa.create_engine(url, json_serializer=_dump_json, pool_pre_ping=True)
    if url.get_backend_name() == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are ours, see _begin_immediate
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    # Taking the write lock at once avoids the deadlock of two readers that both want to write.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _create_tables(engine: sa.Engine) -> None:
    """Create what is missing; several processes may do so at once."""
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7221)"))
        metadata.create_all(connection)


def _dump_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _first_line(error: Exception) -> str:
    """The cause in one line, without SQL and parameters."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__


def _without_password(uri: str) -> str:
    try:
        return sa.make_url(uri).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "(unreadable URL)"
