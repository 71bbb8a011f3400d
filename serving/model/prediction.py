"""Predictions: scored rows as they are logged and answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from serving.errors import InputError
from serving.model.features import ENTITY_ID, FeatureRows, Floats
from serving.model.prediction_ids import prediction_ids
from serving.model.scorer import PortableScorer
from serving.model.values import LARGEST_EXACT

LONGEST_IDENTIFIER = 255


@dataclass(slots=True)
class Prediction:
    """A scored row as it is stored and answered.

    `features` maps names to raw values, None where missing. A retry returns the row of the
    first attempt, with the version of the model that answered it.
    """

    prediction_id: str
    row_index: int
    entity_id: str | None
    score: float
    label: int
    threshold: float
    features: dict[str, Any]
    model_version: str | None


@dataclass(frozen=True)
class ModelIdentity:
    """Identity of the model that answered; `name` and `version` are None outside the registry."""

    name: str | None
    version: str | None
    run_id: str | None


def check_identifier(field: str, value: str) -> None:
    """Check that an identifier sent by a caller can be stored.

    Raises:
        InputError: it is empty, longer than 255 characters, or not plain text.
    """
    if not value:
        raise InputError(f"{field}: must not be empty")
    if len(value) > LONGEST_IDENTIFIER:
        raise InputError(f"{field}: must have at most {LONGEST_IDENTIFIER} characters")
    if "\0" in value or not _is_unicode(value):
        raise InputError(f"{field}: must be plain text")


def parse_entity_id(value: Any, row: int, column: str = ENTITY_ID) -> str | None:
    """Return the id of an entity as text; None and NaN are absent ids.

    A column of integers with missing values arrives as floats.

    Raises:
        InputError: the id cannot be stored, or is a float too large to be an exact integer.
    """
    if pd.isna(value):
        return None
    if isinstance(value, float) and value.is_integer():
        if abs(value) >= LARGEST_EXACT:
            raise InputError(
                f"column {column}, row {row}: too large for a number, send it as a string"
            )
        value = int(value)
    check_identifier(f"column {column}, row {row}", str(value))
    return str(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def predict_rows(
    scorer: PortableScorer,
    model: ModelIdentity,
    rows: FeatureRows,
    entity_ids: Sequence[str | None],
    request_id: str | None,
) -> list[Prediction]:
    """Return predictions for valid rows, without logging them."""
    scores = scorer.score_rows(rows)
    return scored_rows(scorer.manifest.threshold, model, rows, scores, entity_ids, request_id)


def scored_rows(
    threshold: float,
    model: ModelIdentity,
    rows: FeatureRows,
    scores: Floats,
    entity_ids: Sequence[str | None],
    request_id: str | None,
) -> list[Prediction]:
    """Return predictions for valid rows and their scores, shape (n_rows,)."""
    ids = prediction_ids(len(rows), request_id, model.name)
    predicted = zip(ids, entity_ids, scores.tolist(), rows.to_dicts(), strict=True)
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=i,
            entity_id=entity_id,
            score=score,
            label=int(score >= threshold),
            threshold=threshold,
            features=features,
            model_version=model.version,
        )
        for i, (prediction_id, entity_id, score, features) in enumerate(predicted)
    ]
