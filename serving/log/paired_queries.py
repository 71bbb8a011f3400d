"""Predictions of one version with the shadow predictions of another for the same rows."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from serving.log.database.schema import (
    ground_truth,
    has_shadow_predictions,
    predictions,
    shadow_predictions,
)
from serving.log.queries import Cursor, latest, within

COLUMNS = (
    "created_at", "score", "label", "shadow_score", "shadow_label", "true_label",
)  # fmt: skip


def stream_pairs(
    connection: sa.Connection,
    model_name: str,
    run_id: str | None,
    shadow_version: str,
    shadow_since: datetime,
    since: datetime | Cursor | None,
    until: datetime | None,
    chunk: int,
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the predictions that both versions made, oldest first, in chunks of COLUMNS.

    `true_label` is None without ground truth.

    Args:
        connection: connection to the log.
        model_name: name of the registered model.
        run_id: run of the champion, which answered.
        shadow_version: number of the version in the shadow.
        shadow_since: time of its registration. A model that is deleted and registered again has the
            same numbers.
        since: start of the time range, inclusive.
        until: end of the time range, exclusive.
        chunk: largest number of rows in a chunk.
    """
    if not has_shadow_predictions(connection):
        return
    shadow = shadow_predictions.c
    query = (
        sa.select(
            predictions.c.created_at,
            predictions.c.score,
            predictions.c.label,
            shadow.score.label("shadow_score"),
            shadow.label.label("shadow_label"),
            latest(ground_truth.c.label).label("true_label"),
        )
        .join(shadow_predictions, shadow.prediction_id == predictions.c.prediction_id)
        .where(predictions.c.model_name == model_name)
        .where(predictions.c.run_id == run_id)
        .where(shadow.model_version == shadow_version)
        .where(shadow.created_at >= shadow_since)
        .order_by(predictions.c.created_at, predictions.c.prediction_id)
    )
    found = connection.execution_options(yield_per=chunk).execute(within(query, since, until))
    for rows in found.partitions():
        yield [tuple(row) for row in rows]
