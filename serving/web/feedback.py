"""Body of `POST /feedback`."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from serving.errors import MAX_VIOLATIONS, InputError, Violation
from serving.log.ground_truth import Label, check_label
from serving.model.prediction import LONGEST_IDENTIFIER
from serving.web.columns import check_entity_id
from serving.web.json_body import parse_json
from serving.web.problems import InvalidRequestError, invalid, violations_of

MAX_LABELS = 100_000


def _label(value: Any) -> int:
    if type(value) is not int or value not in (0, 1):
        raise ValueError("must be 0 or 1")
    return value


def _text(value: Any) -> str | None:
    if value is not None and type(value) is not str:
        raise ValueError("must be a string or null")
    return _identifier(value)


def _identifier(value: Any) -> str | None:
    try:
        check_entity_id(value)
    except InputError as error:
        raise ValueError(str(error)) from None
    return None if value is None else str(value)


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a time such as 2026-05-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError("must have a time zone, such as Z or +01:00")
    return moment


IDENTIFIER = {"type": "string", "minLength": 1, "maxLength": LONGEST_IDENTIFIER}


def _one_of(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*schemas, {"type": "null"}]})


class FeedbackLabel(BaseModel):
    """The ground truth of one prediction, identified by its id or by your own id of the row.

    The latter refers to the last prediction of that id made before `observed_at` (default: now).
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["prediction_id"]}, {"required": ["id"]}]},
    )

    label: Annotated[
        int,
        PlainValidator(_label),
        WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 1}),
    ]
    prediction_id: Annotated[str | None, PlainValidator(_text), _one_of(IDENTIFIER)] = None
    entity_id: Annotated[
        str | None,
        Field(alias="id"),
        PlainValidator(_identifier),
        _one_of(IDENTIFIER, {"type": "integer"}),
    ] = None
    observed_at: Annotated[
        datetime | None,
        PlainValidator(_moment),
        _one_of({"type": "string", "format": "date-time"}),
    ] = None


class FeedbackBody(BaseModel):
    """Labels for one or many predictions."""

    model_config = ConfigDict(extra="forbid")

    labels: Annotated[list[FeedbackLabel], Field(min_length=1, max_length=MAX_LABELS)]


def parse_labels(body: bytes) -> list[Label]:
    """Return the labels in a body.

    Raises:
        InvalidRequestError: names each invalid label and the rule it breaks.
    """
    content = parse_json(body)
    if not isinstance(content, dict) or not isinstance(content.get("labels"), list):
        raise invalid("labels", "must be a list of labels")
    for name in content.keys() - {"labels"}:
        raise invalid(name[:100], "is not a field of the body: labels is the only one")
    items = content["labels"]
    if not 1 <= len(items) <= MAX_LABELS:
        raise invalid("labels", f"must have 1 to {MAX_LABELS} labels, has {len(items)}")
    labels: list[Label] = []
    violations: list[Violation] = []
    # One at a time: while pydantic validates a large list, no other request is answered.
    for position, item in enumerate(items):
        try:
            labels.append(_parse_label(position, item))
        except InvalidRequestError as error:
            violations += error.violations
            if len(violations) >= MAX_VIOLATIONS:
                break
    if violations:
        raise InvalidRequestError(violations)
    return labels


def _parse_label(position: int, item: Any) -> Label:
    path = ("labels", position)
    try:
        given = FeedbackLabel.model_validate(item)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)[:MAX_VIOLATIONS]
        located = [{**problem, "loc": (*path, *problem["loc"])} for problem in errors]
        raise InvalidRequestError(violations_of(located)) from None
    label = Label(given.label, given.prediction_id, given.entity_id, given.observed_at)
    try:
        check_label(position, label)
    except InputError as error:
        field, _, rule = str(error).partition(": ")
        raise invalid(field, rule) from None
    return label
