"""Reading the prediction log: newest first by page, or a time window as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serving.errors import InputError
from serving.schema import ground_truth, predictions

COLUMNS = (
    "prediction_id", "request_id", "row_index", "entity_id", "created_at", "model_name",
    "model_version", "run_id", "score", "label", "threshold", "features", "source",
)  # fmt: skip


@dataclass(slots=True)
class StoredPrediction:
    """A prediction of the log, with the latest label recorded for it if there is one."""

    prediction_id: str
    request_id: str | None
    row_index: int
    entity_id: str | None
    created_at: datetime
    model_name: str | None
    model_version: str | None
    run_id: str | None
    score: float
    label: int
    threshold: float
    features: dict[str, float | None] | None
    source: str
    true_label: int | None
    observed_at: datetime | None


@dataclass(frozen=True)
class Place:
    """A place in the order of predictions: by time, then by id, as a batch has one time."""

    created_at: datetime
    prediction_id: str


@dataclass(frozen=True)
class Page:
    """Predictions, newest first; `next` is the cursor of the page after it, None at the end."""

    predictions: list[StoredPrediction]
    next: str | None


@dataclass(frozen=True)
class Counts:
    """How many predictions and labels the log holds."""

    predictions: int
    labels: int


def with_truth() -> sa.Select[Any]:
    """Select predictions with their latest label: the one recorded last."""
    return sa.select(
        *(predictions.c[name] for name in COLUMNS),
        _latest(ground_truth.c.label).label("true_label"),
        _latest(ground_truth.c.observed_at).label("observed_at"),
    )


def _latest(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    # A look-up for each row that is read; a join makes PostgreSQL compare all with all.
    return (
        sa.select(column)
        .where(ground_truth.c.prediction_id == predictions.c.prediction_id)
        .order_by(ground_truth.c.recorded_at.desc(), ground_truth.c.id.desc())
        .limit(1)
        .correlate(predictions)
        .scalar_subquery()
    )


def read_page(connection: sa.Connection, before: str | None, limit: int) -> Page:
    """Return up to `limit` predictions older than the cursor `before`.

    Raises:
        InputError: `before` is no cursor.
    """
    created_at, prediction_id = predictions.c.created_at, predictions.c.prediction_id
    query = with_truth().order_by(created_at.desc(), prediction_id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(_in_order() < _as_literal(_parse_cursor(before)))
    found = [StoredPrediction(**row) for row in connection.execute(query).mappings()]
    rows = found[:limit]
    if len(found) <= limit:
        return Page(rows, None)
    return Page(rows, f"{rows[-1].created_at.astimezone(UTC):{MOMENT}}_{rows[-1].prediction_id}")


MOMENT = "%Y%m%dT%H%M%S.%fZ"


def _parse_cursor(cursor: str) -> Place:
    moment, _, prediction_id = cursor.partition("_")
    try:
        return Place(datetime.strptime(moment, MOMENT).replace(tzinfo=UTC), prediction_id)
    except ValueError:
        raise InputError("before: must be the cursor that a page gave as next") from None


def read_counts(connection: sa.Connection) -> Counts:
    """Count the predictions and the labels of the log."""
    return Counts(
        *(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (predictions, ground_truth)
        )
    )


def feature_names(
    connection: sa.Connection, since: datetime | None, until: datetime | None
) -> list[str]:
    """Return the features of all models that answered in a time window, in their order."""
    model = (predictions.c.model_name, predictions.c.model_version, predictions.c.run_id)
    one_each = sa.select(sa.func.min(predictions.c.prediction_id))
    one_each = _within(one_each, since, until).where(predictions.c.features.is_not(sa.null()))
    found = connection.execute(
        sa.select(predictions.c.features)
        .where(predictions.c.prediction_id.in_(one_each.group_by(*model)))
        .order_by(predictions.c.created_at)
    )
    return list(dict.fromkeys(name for features in found.scalars() for name in features))


def start_of_last(connection: sa.Connection, model_name: str, count: int) -> Place | None:
    """Return where the newest `count` predictions of a model begin; None if there are fewer."""
    query = sa.select(predictions.c.created_at, predictions.c.prediction_id)
    query = query.where(predictions.c.model_name == model_name)
    query = query.order_by(predictions.c.created_at.desc(), predictions.c.prediction_id.desc())
    found = connection.execute(query.offset(count - 1).limit(1)).first()
    return Place(*found) if found else None


def labels_since(
    connection: sa.Connection, model_name: str, moment: datetime | None
) -> dict[str, int]:
    """Return the labels recorded for a model after `moment`, by the id of their prediction."""
    query = (
        sa.select(ground_truth.c.prediction_id, ground_truth.c.label)
        .join(predictions, predictions.c.prediction_id == ground_truth.c.prediction_id)
        .where(predictions.c.model_name == model_name)
        .order_by(ground_truth.c.recorded_at, ground_truth.c.id)
    )
    if moment is not None:
        query = query.where(ground_truth.c.recorded_at > moment)
    return {row.prediction_id: row.label for row in connection.execute(query)}


def stream(
    connection: sa.Connection,
    since: datetime | Place | None,
    until: datetime | None,
    chunk: int,
    model_name: str | None = None,
    labelled_only: bool = False,
) -> Iterator[list[StoredPrediction]]:
    """Yield the predictions made from `since` to before `until`, oldest first, in chunks."""
    query = with_truth().order_by(predictions.c.created_at, predictions.c.prediction_id)
    if model_name is not None:
        query = query.where(predictions.c.model_name == model_name)
    if labelled_only:
        query = query.where(
            predictions.c.prediction_id.in_(sa.select(ground_truth.c.prediction_id))
        )
    found = connection.execution_options(yield_per=chunk).execute(_within(query, since, until))
    for rows in found.mappings().partitions():
        yield [StoredPrediction(**row) for row in rows]


def _within(
    query: sa.Select[Any], since: datetime | Place | None, until: datetime | None
) -> sa.Select[Any]:
    if isinstance(since, Place):
        query = query.where(_in_order() >= _as_literal(since))
    elif since is not None:
        query = query.where(predictions.c.created_at >= since)
    if until is not None:
        query = query.where(predictions.c.created_at < until)
    return query


def _in_order() -> sa.Tuple:
    return sa.tuple_(predictions.c.created_at, predictions.c.prediction_id)


def _as_literal(place: Place) -> sa.Tuple:
    moment = sa.literal(place.created_at, predictions.c.created_at.type)
    return sa.tuple_(moment, sa.literal(place.prediction_id))
