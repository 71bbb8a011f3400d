"""Deletion of old predictions, their labels and their shadow predictions."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import sqlalchemy as sa

from serving.log.database.engine import READ_ONLY
from serving.log.database.schema import (
    ground_truth,
    has_shadow_predictions,
    predictions,
    shadow_predictions,
)
from serving.log.queries import Counts

# Requests wait for a transaction; its rows are as many as are deleted in this time.
PORTION_SECONDS = 0.2
FIRST_ROWS, MIN_ROWS, MAX_ROWS = 1_000, 100, 10_000

# Deletes up to a number of rows; returns the numbers of deleted predictions and labels.
Deletion = Callable[[sa.Connection, int], tuple[int, int]]


def delete_before(engine: sa.Engine, before: datetime) -> Counts:
    """Delete the predictions made before `before` and their labels; return their numbers.

    Transactions are short, and servers write between them.

    Raises:
        SQLAlchemyError: the log is unavailable; rows deleted before that stay deleted.
    """
    with engine.connect().execution_options(**READ_ONLY) as connection:
        shadowed = has_shadow_predictions(connection)

    def oldest(connection: sa.Connection, limit: int) -> tuple[int, int]:
        return _delete_oldest(connection, before, limit, shadowed)

    def unmatched(connection: sa.Connection, limit: int) -> tuple[int, int]:
        return 0, _delete_unmatched(connection, before, limit)

    def orphaned(connection: sa.Connection, limit: int) -> tuple[int, int]:
        return _delete_orphaned(connection, before, limit), 0

    counts = [*_in_portions(engine, oldest), *_in_portions(engine, unmatched)]
    if shadowed:
        list(_in_portions(engine, orphaned))
    return Counts(sum(deleted for deleted, _ in counts), sum(labels for _, labels in counts))


def _in_portions(engine: sa.Engine, delete: Deletion) -> Iterator[tuple[int, int]]:
    """Delete until nothing is left, and leave half of the time to servers."""
    limit = FIRST_ROWS
    while True:
        with engine.begin() as connection:
            start = time.monotonic()
            counts = delete(connection, limit)
        taken = time.monotonic() - start
        yield counts
        if not any(counts):
            return
        limit = max(
            MIN_ROWS, min(MAX_ROWS, 2 * limit, int(limit * PORTION_SECONDS / (taken + 1e-9)))
        )
        time.sleep(taken)


def _delete_oldest(
    connection: sa.Connection, before: datetime, limit: int, shadowed: bool
) -> tuple[int, int]:
    oldest = (
        sa.select(predictions.c.prediction_id)
        .where(predictions.c.created_at < before)
        .order_by(predictions.c.created_at)
        .limit(limit)
    )
    ids = connection.execute(oldest).scalars().all()
    if shadowed:
        of_ids = shadow_predictions.c.prediction_id.in_(ids)
        connection.execute(shadow_predictions.delete().where(of_ids))
    deleted, labels = (
        connection.execute(table.delete().where(table.c.prediction_id.in_(ids))).rowcount
        for table in (predictions, ground_truth)
    )
    return deleted, labels


def _delete_unmatched(connection: sa.Connection, before: datetime, limit: int) -> int:
    """Delete labels that were inserted by hand, for entities without a prediction."""
    unmatched = (
        sa.select(ground_truth.c.id)
        .where(ground_truth.c.prediction_id.is_(None))
        .where(ground_truth.c.observed_at < before)
        .limit(limit)
    )
    ids = connection.execute(unmatched).scalars().all()
    return connection.execute(ground_truth.delete().where(ground_truth.c.id.in_(ids))).rowcount


def _delete_orphaned(connection: sa.Connection, before: datetime, limit: int) -> int:
    """Delete shadow predictions that were stored after their prediction was deleted."""
    kept = sa.select(predictions.c.prediction_id)
    orphaned = (
        sa.select(shadow_predictions.c.prediction_id)
        .where(shadow_predictions.c.created_at < before)
        .where(shadow_predictions.c.prediction_id.not_in(kept))
        .limit(limit)
    )
    ids = connection.execute(orphaned).scalars().all()
    of_ids = shadow_predictions.c.prediction_id.in_(ids)
    return connection.execute(shadow_predictions.delete().where(of_ids)).rowcount
