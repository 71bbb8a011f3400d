"""Shadow predictions: a challenger's scores of logged rows, stored on a best-effort basis.

They are not part of an answer, so their commits do not wait for the disk, and they never go to the
spool. A log of an earlier release gets the table when the first rows are written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.log.database.engine import connect
from serving.log.database.migrations import lock_upgrades
from serving.log.database.multi_row_insert import Row, insert_rows
from serving.log.database.schema import (
    UtcDateTime,
    has_shadow_predictions,
    predictions,
    shadow_predictions,
)
from serving.log.database.watched_connection import WatchedConnection, repeat_if_lost
from serving.log.queries import latest_of_each
from serving.log.recovery import StuckConnectionWatch


@dataclass(frozen=True, slots=True)
class ShadowPrediction:
    """The score of a challenger for the row of a logged prediction."""

    prediction_id: str
    model_version: str
    score: float
    label: int
    created_at: datetime


class ShadowLog:
    """Writes shadow predictions to the prediction log, from one thread."""

    def __init__(self, uri: str) -> None:
        self._engine = connect(uri)
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        if self._is_sqlite:
            sa.event.listen(self._engine, "connect", _do_not_wait_for_disk)
        time_type = UtcDateTime().dialect_impl(self._engine.dialect)
        self._as_driver_time = time_type.bind_processor(self._engine.dialect) or _unchanged
        self._writer = WatchedConnection(self._engine)
        self._watch = StuckConnectionWatch([self._writer])
        self._watch.start()
        self._has_table = False

    def write(self, rows: Sequence[ShadowPrediction]) -> None:
        """Store `rows` in one transaction; rows that are stored already are left as they are.

        Raises:
            SQLAlchemyError: the log is unavailable.
        """
        repeat_if_lost(lambda: self._write_once(rows))

    def _write_once(self, rows: Sequence[ShadowPrediction]) -> None:
        try:
            with self._writer.transaction() as connection:
                if not self._is_sqlite:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
                if not self._has_table:
                    _create_table(connection)
                insert_rows(
                    connection,
                    shadow_predictions,
                    [self._encode(row) for row in rows],
                    ignore_present=True,
                    note_progress=self._writer.note_progress,
                )
        except SQLAlchemyError:
            self._has_table = False  # the log may have been replaced
            raise
        self._has_table = True

    def _encode(self, row: ShadowPrediction) -> Row:
        """Return the values of `row` as the driver takes them, in the order of the columns."""
        created_at = self._as_driver_time(row.created_at)
        return row.prediction_id, row.model_version, row.score, row.label, created_at

    def close(self) -> None:
        """Close the connection."""
        self._watch.stop()
        self._writer.close()
        self._engine.dispose()


def _unchanged(value: datetime) -> datetime:
    return value


def holds_shadow_predictions(connection: sa.Connection) -> bool:
    """Return whether the log has any shadow prediction."""
    if not has_shadow_predictions(connection):
        return False
    return (
        connection.execute(sa.select(shadow_predictions.c.prediction_id).limit(1)).first()
        is not None
    )


def with_latest_shadow(query: sa.Select[Any], dialect: str) -> sa.Select[Any]:
    """Add the latest shadow prediction, if there is one, to a query of predictions."""
    shadow, of_prediction = latest_of_each(
        shadow_predictions, "created_at", "model_version", dialect
    )
    return query.outerjoin_from(predictions, shadow, of_prediction).add_columns(
        shadow.c.model_version.label("shadow_model_version"),
        shadow.c.score.label("shadow_score"),
        shadow.c.label.label("shadow_label"),
    )


def _create_table(connection: sa.Connection) -> None:
    """Create the table if it is missing; safe in several processes at once."""
    lock_upgrades(connection)
    shadow_predictions.create(connection, checkfirst=True)


def _do_not_wait_for_disk(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
