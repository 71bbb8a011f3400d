"""Ground-truth labels: validation and storage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
import sqlalchemy as sa

from serving.errors import InputError
from serving.log.database.schema import UtcDateTime, ground_truth
from serving.model.prediction import check_identifier

# Clocks of callers may be ahead by this much.
CLOCK_DIFFERENCE = timedelta(minutes=5)
# All labels are sent as one JSON parameter: a round trip for each would take seconds.
LABEL_ROWS = {
    "sqlite": """
        SELECT key AS position, json_extract(value, '$[0]') AS prediction_id,
            json_extract(value, '$[1]') AS entity_id, json_extract(value, '$[2]') AS observed_at
        FROM json_each(:labels)""",
    "postgresql": """
        SELECT position - 1 AS position, value ->> 0 AS prediction_id, value ->> 1 AS entity_id,
            CAST(value ->> 2 AS timestamptz) AS observed_at
        FROM json_array_elements(CAST(:labels AS json)) WITH ORDINALITY AS l (value, position)""",
}
LABELED_PREDICTION = """
    SELECT CASE WHEN l.prediction_id IS NOT NULL
        THEN (SELECT p.prediction_id FROM predictions p WHERE p.prediction_id = l.prediction_id)
        ELSE (SELECT p.prediction_id FROM predictions p
              WHERE p.entity_id = l.entity_id AND p.created_at < l.observed_at
              ORDER BY p.created_at DESC, p.row_index DESC LIMIT 1)
        END
    FROM ({labels}) AS l ORDER BY l.position"""


@dataclass(slots=True)
class Label:
    """The true label of a prediction, identified by its id or by the id of its entity.

    An entity id refers to the last prediction for that entity made before `observed_at`
    (default: now).
    """

    true_label: int
    prediction_id: str | None = None
    entity_id: str | None = None
    observed_at: datetime | None = None

    @property
    def given_id(self) -> str:
        """The id that the caller gave; empty if there is none."""
        return self.prediction_id or self.entity_id or ""


@dataclass(frozen=True)
class FeedbackResult:
    """The number of stored labels, and the given ids without a prediction."""

    recorded: int
    unknown: list[str]


def check_label(position: int, label: Label) -> None:
    """Check that a label can be stored.

    Raises:
        InputError: it is not 0 or 1, gives no id or both, or its time has no time zone, is in the
            future, or is out of range in UTC.
    """
    field = f"labels[{position}]"
    if isinstance(label.true_label, bool) or label.true_label not in (0, 1):
        raise InputError(f"{field}.label: must be 0 or 1")
    if (label.prediction_id is None) == (label.entity_id is None):
        raise InputError(f"{field}: give either prediction_id or id")
    check_identifier(field, label.given_id)
    if label.observed_at is not None:
        _check_moment(f"{field}.observed_at", label.observed_at)


def _check_moment(field: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise InputError(f"{field}: must have a time zone")
    try:
        in_future = moment.astimezone(UTC) > datetime.now(UTC) + CLOCK_DIFFERENCE
    except OverflowError:
        raise InputError(f"{field}: must be in the years 1 to 9999 in UTC") from None
    if in_future:
        raise InputError(f"{field}: must not be in the future")


def store_labels(connection: sa.Connection, labels: Sequence[Label]) -> FeedbackResult:
    """Store `labels` beside earlier ones, except those whose prediction is unknown."""
    now = datetime.now(UTC)
    prediction_ids = _find_predictions(connection, labels, now)
    pairs = list(zip(labels, prediction_ids, strict=True))
    rows = [
        {
            "prediction_id": prediction_id,
            "entity_id": label.entity_id,
            "label": label.true_label,
            "observed_at": label.observed_at or now,
            "recorded_at": now,
        }
        for label, prediction_id in pairs
        if prediction_id is not None
    ]
    if rows:
        connection.execute(ground_truth.insert(), rows)
    unknown = [label.given_id for label, prediction_id in pairs if prediction_id is None]
    return FeedbackResult(len(rows), list(dict.fromkeys(unknown)))


def _find_predictions(
    connection: sa.Connection, labels: Sequence[Label], now: datetime
) -> Sequence[str | None]:
    """Return the id of the prediction that each label refers to, None if there is none."""
    dialect = connection.dialect
    encode = UtcDateTime().dialect_impl(dialect).bind_processor(dialect) or datetime.isoformat
    values = [
        (
            label.prediction_id,
            label.entity_id,
            str(encode((label.observed_at or now).astimezone(UTC))),
        )
        for label in labels
    ]
    query = sa.text(LABELED_PREDICTION.format(labels=LABEL_ROWS[dialect.name]))
    return connection.execute(query, {"labels": orjson.dumps(values).decode()}).scalars().all()
