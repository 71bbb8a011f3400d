"""The body of `POST /feedback`."""

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.feedback import Label
from serving.prediction import LONGEST_KEY
from serving.web.problems import InvalidRequestError, violations_of

MOST_LABELS = 100_000

Text = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)]


class LabelOfOne(BaseModel):
    """What was true of one prediction, named by its id or by the caller's own id of the row.

    The latter means the last prediction of that id made before `observed_at` (default: now).
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["prediction_id"]}, {"required": ["id"]}]},
    )

    label: Annotated[int, Field(ge=0, le=1)]
    prediction_id: Text | None = None
    id: Text | int | None = None
    observed_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _names_one_prediction(self) -> Self:
        if (self.prediction_id is None) == (self.id is None):
            raise ValueError("give either prediction_id or id")
        return self


class FeedbackBody(BaseModel):
    """Labels, in bulk if there are many."""

    model_config = ConfigDict(strict=True, extra="forbid")

    labels: Annotated[list[LabelOfOne], Field(min_length=1, max_length=MOST_LABELS)]


def read_labels(body: bytes) -> list[Label]:
    """Return the labels in a body.

    Raises:
        InvalidRequestError: names each label and the rule it breaks.
    """
    try:
        read = FeedbackBody.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        status = 400 if wrong[0]["type"] == "json_invalid" else 422
        raise InvalidRequestError(violations_of(wrong), status) from None
    return [
        Label(
            label=one.label,
            prediction_id=one.prediction_id,
            entity_id=None if one.id is None else str(one.id),
            observed_at=one.observed_at,
        )
        for one in read.labels
    ]
