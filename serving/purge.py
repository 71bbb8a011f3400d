"""Deleting old predictions and their labels."""

from datetime import datetime

import sqlalchemy as sa

from serving.history import Counts
from serving.schema import ground_truth, predictions

ROWS_AT_ONCE = 5_000


def delete_before(engine: sa.Engine, before: datetime) -> Counts:
    """Delete the predictions made before `before` and their labels; return how many.

    In many short transactions, so that servers can write between them.

    Raises:
        SQLAlchemyError: the log is away; what was deleted stays so.
    """
    n_predictions = n_labels = 0
    while True:
        deleted, labels = _delete_some(engine, before)
        n_predictions, n_labels = n_predictions + deleted, n_labels + labels
        if not deleted:
            break
    with engine.begin() as connection:  # labels written by hand for an id nobody predicted
        n_labels += connection.execute(
            ground_truth.delete()
            .where(ground_truth.c.prediction_id.is_(None))
            .where(ground_truth.c.observed_at < before)
        ).rowcount
    return Counts(n_predictions, n_labels)


def _delete_some(engine: sa.Engine, before: datetime) -> tuple[int, int]:
    oldest = (
        sa.select(predictions.c.prediction_id)
        .where(predictions.c.created_at < before)
        .order_by(predictions.c.created_at)
        .limit(ROWS_AT_ONCE)
    )
    with engine.begin() as connection:
        ids = connection.execute(oldest).scalars().all()
        counts = [
            connection.execute(table.delete().where(table.c.prediction_id.in_(ids))).rowcount
            for table in (predictions, ground_truth)
        ]
    return counts[0], counts[1]
