"""What turned out to be true: labels for predictions, late, repeated and in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import sqlalchemy as sa

from serving.errors import InputError
from serving.prediction import check_key
from serving.schema import UtcDateTime, ground_truth

# One parameter carries all labels: a round trip for each would take seconds.
LABELS = {
    "sqlite": """
        SELECT key AS position, json_extract(value, '$[0]') AS prediction_id,
            json_extract(value, '$[1]') AS entity_id, json_extract(value, '$[2]') AS observed_at
        FROM json_each(:labels)""",
    "postgresql": """
        SELECT position - 1 AS position, value ->> 0 AS prediction_id, value ->> 1 AS entity_id,
            CAST(value ->> 2 AS timestamptz) AS observed_at
        FROM json_array_elements(CAST(:labels AS json)) WITH ORDINALITY AS l (value, position)""",
}
MEANT = """
    SELECT CASE WHEN l.prediction_id IS NOT NULL
        THEN (SELECT p.prediction_id FROM predictions p WHERE p.prediction_id = l.prediction_id)
        ELSE (SELECT p.prediction_id FROM predictions p
              WHERE p.entity_id = l.entity_id AND p.created_at < l.observed_at
              ORDER BY p.created_at DESC, p.row_index DESC LIMIT 1)
        END
    FROM ({labels}) AS l ORDER BY l.position"""


@dataclass(slots=True)
class Label:
    """What was true of a prediction, named by its id or by the caller's id of the row.

    The latter means the last prediction for that id made before `observed_at` (default: now).
    """

    label: int
    prediction_id: str | None = None
    entity_id: str | None = None
    observed_at: datetime | None = None


@dataclass(frozen=True)
class FeedbackResult:
    """How many labels were stored, and the ids that no prediction has."""

    recorded: int
    unknown: list[str]


def check_label(position: int, label: Label) -> None:
    """Check that a label can be stored.

    Raises:
        InputError: it is not 0 or 1, names no prediction or two, or its time has no zone.
    """
    if isinstance(label.label, bool) or label.label not in (0, 1):
        raise InputError(f"labels[{position}]: label must be 0 or 1")
    if (label.prediction_id is None) == (label.entity_id is None):
        raise InputError(f"labels[{position}]: give either prediction_id or id")
    check_key(f"labels[{position}]", label.prediction_id or label.entity_id or "")
    if label.observed_at is not None and label.observed_at.tzinfo is None:
        raise InputError(f"labels[{position}]: observed_at must have a time zone")


def store_labels(connection: sa.Connection, labels: Sequence[Label]) -> FeedbackResult:
    """Store `labels` beside earlier ones; those of unknown predictions are named, not stored."""
    now = datetime.now(UTC)
    found = _meant(connection, labels, now)
    known = [
        {
            "prediction_id": prediction_id,
            "entity_id": label.entity_id,
            "label": label.label,
            "observed_at": label.observed_at or now,
            "recorded_at": now,
        }
        for label, prediction_id in zip(labels, found, strict=True)
        if prediction_id is not None
    ]
    if known:
        connection.execute(ground_truth.insert(), known)
    unknown = [
        label.prediction_id or label.entity_id or ""
        for label, prediction_id in zip(labels, found, strict=True)
        if prediction_id is None
    ]
    return FeedbackResult(len(known), list(dict.fromkeys(unknown)))


def _meant(
    connection: sa.Connection, labels: Sequence[Label], now: datetime
) -> Sequence[str | None]:
    """Return the id of the prediction that each label means, None if there is none."""
    dialect = connection.dialect
    as_stored = UtcDateTime().dialect_impl(dialect).bind_processor(dialect) or datetime.isoformat
    values = [
        (
            label.prediction_id,
            label.entity_id,
            str(as_stored((label.observed_at or now).astimezone(UTC))),
        )
        for label in labels
    ]
    query = sa.text(MEANT.format(labels=LABELS[dialect.name]))
    return connection.execute(query, {"labels": orjson.dumps(values).decode()}).scalars().all()
