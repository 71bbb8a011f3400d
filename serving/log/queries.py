"""Queries of the prediction log: pages, newest first, and streams of a time window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import sqlalchemy as sa

from serving.errors import InputError
from serving.log.database.schema import READ_COLUMNS, ground_truth, predictions
from serving.model.prediction import check_identifier

CURSOR_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(slots=True)
class StoredPrediction:
    """A logged prediction, with its latest true label if there is one."""

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
class Cursor:
    """A position in the order of predictions: by time, then by id, as a batch has one time."""

    created_at: datetime
    prediction_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor that `str` turned into `text`.

        Raises:
            InputError: `text` is not a cursor.
        """
        time, _, prediction_id = text.partition("_")
        try:
            created_at = datetime.strptime(time, CURSOR_TIME).replace(tzinfo=UTC)
            check_identifier("before", prediction_id)  # PostgreSQL stores no other text
        except (ValueError, InputError):
            raise InputError("before: must be the `next` cursor of a previous page") from None
        return cls(created_at, prediction_id)

    def __str__(self) -> str:
        return f"{self.created_at.astimezone(UTC):{CURSOR_TIME}}_{self.prediction_id}"

    @property
    def as_literal(self) -> sa.Tuple:
        """The cursor in SQL, comparable with `in_order`."""
        created_at = sa.literal(self.created_at, predictions.c.created_at.type)
        return sa.tuple_(created_at, sa.literal(self.prediction_id))


@dataclass(frozen=True)
class Page:
    """Predictions, newest first; `next` is the cursor of the next page, None on the last."""

    predictions: list[StoredPrediction]
    next: str | None


@dataclass(frozen=True)
class Counts:
    """Numbers of predictions and labels, each counted up to a limit only if there was one."""

    predictions: int
    labels: int


@dataclass(frozen=True)
class LabelCounts:
    """Numbers of predictions by their true label."""

    positives: int
    negatives: int


def in_order() -> sa.Tuple:
    """Return the columns that order predictions."""
    return sa.tuple_(predictions.c.created_at, predictions.c.prediction_id)


def with_true_labels() -> sa.Select[Any]:
    """Select predictions with the label recorded last for each."""
    return sa.select(
        *READ_COLUMNS,
        latest(ground_truth.c.label).label("true_label"),
        latest(ground_truth.c.observed_at).label("observed_at"),
    )


def with_latest_label(
    dialect: str, columns: Sequence[sa.ColumnElement[Any]] = READ_COLUMNS
) -> sa.Select[Any]:
    """Select predictions with the label recorded last for each, for many rows.

    Args:
        dialect: the name of the database.
        columns: columns of predictions. They are followed by `true_label`, `observed_at` and
            `recorded_at`.
    """
    label, of_prediction = latest_of_each(ground_truth, "recorded_at", "id", dialect)
    of_label = (label.c.label.label("true_label"), label.c.observed_at, label.c.recorded_at)
    return sa.select(*columns, *of_label).outerjoin_from(predictions, label, of_prediction)


def latest_of_each(
    table: sa.Table, time: str, key: str, dialect: str
) -> tuple[sa.FromClause, sa.ColumnElement[bool]]:
    """Return what to join to predictions for the latest row of each in `table`, and the condition.

    Args:
        table: a table with a prediction id.
        time: name of the column of times.
        key: name of the column that, with the prediction id, identifies a row.
        dialect: name of the database: with SQLite's join, PostgreSQL reads the whole table.
    """
    other = table.alias()
    latest_row = (
        sa.select(other)
        .where(other.c.prediction_id == predictions.c.prediction_id)
        .order_by(other.c[time].desc(), other.c[key].desc())
        .limit(1)
        .correlate(predictions)
    )
    if dialect == "postgresql":
        return latest_row.lateral(), sa.true()
    is_latest = table.c[key] == latest_row.with_only_columns(other.c[key]).scalar_subquery()
    return table, (table.c.prediction_id == predictions.c.prediction_id) & is_latest


def latest(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    """Return a column of the label recorded last for each prediction."""
    # A look-up for each row read: with a join, PostgreSQL compares all rows with all labels.
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
        InputError: `before` is not a cursor.
    """
    created_at, prediction_id = predictions.c.created_at, predictions.c.prediction_id
    query = with_true_labels().order_by(created_at.desc(), prediction_id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(in_order() < Cursor.parse(before).as_literal)
    # The columns are in the order of the fields.
    found = [StoredPrediction(*row) for row in connection.execute(query)]
    rows = found[:limit]
    if len(found) <= limit:
        return Page(rows, None)
    return Page(rows, str(Cursor(rows[-1].created_at, rows[-1].prediction_id)))


def count_rows(connection: sa.Connection, table: sa.Table, limit: int) -> int:
    """Count the first `limit` rows of a table."""
    rows = sa.select(sa.literal(1)).select_from(table).limit(limit).subquery()
    found: int = connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()
    return found


def count_predictions(
    connection: sa.Connection,
    model_name: str,
    since: datetime | Cursor | None,
    until: datetime | None,
) -> int:
    """Count the predictions of a model from `since` to before `until`."""
    query = within(sa.select(sa.func.count()).select_from(predictions), since, until)
    found: int = connection.execute(
        query.where(predictions.c.model_name == model_name)
    ).scalar_one()
    return found


def feature_names(
    connection: sa.Connection, since: datetime | None, until: datetime | None
) -> list[str]:
    """Return the features of all models that answered in a time window, in their order."""
    model = (predictions.c.model_name, predictions.c.model_version, predictions.c.run_id)
    first_of_each = sa.select(sa.func.min(predictions.c.prediction_id))
    first_of_each = within(first_of_each, since, until)
    first_of_each = first_of_each.where(predictions.c.features.is_not(sa.null()))
    found = connection.execute(
        sa.select(predictions.c.features)
        .where(predictions.c.prediction_id.in_(first_of_each.group_by(*model)))
        .order_by(predictions.c.created_at)
    )
    return list(dict.fromkeys(name for features in found.scalars() for name in features))


def start_of_last(connection: sa.Connection, model_name: str, count: int) -> Cursor | None:
    """Return the cursor of the oldest of the newest `count` predictions of a model.

    None if there are fewer.
    """
    query = sa.select(predictions.c.created_at, predictions.c.prediction_id)
    query = query.where(predictions.c.model_name == model_name)
    query = query.order_by(predictions.c.created_at.desc(), predictions.c.prediction_id.desc())
    found = connection.execute(query.offset(count - 1).limit(1)).first()
    return Cursor(*found) if found else None


def count_labels_since(
    connection: sa.Connection, model_name: str, moment: datetime | None
) -> LabelCounts:
    """Count the predictions of a model with a label recorded after `moment`, by the last label."""
    label, of_prediction = latest_of_each(
        ground_truth, "recorded_at", "id", connection.dialect.name
    )
    query = (
        sa.select(label.c.label, sa.func.count())
        .select_from(predictions)
        .join(label, of_prediction)
        .where(predictions.c.model_name == model_name)
        .group_by(label.c.label)
    )
    if moment is not None:
        query = query.where(label.c.recorded_at > moment)
    counts: dict[int, int] = {row[0]: row[1] for row in connection.execute(query)}
    return LabelCounts(positives=counts.get(1, 0), negatives=counts.get(0, 0))


def within(
    query: sa.Select[Any], since: datetime | Cursor | None, until: datetime | None
) -> sa.Select[Any]:
    """Restrict a query to predictions made from `since` to before `until`."""
    if isinstance(since, Cursor):
        query = query.where(in_order() >= since.as_literal)
    elif since is not None:
        query = query.where(predictions.c.created_at >= since)
    if until is not None:
        query = query.where(predictions.c.created_at < until)
    return query
