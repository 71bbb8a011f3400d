"""What MLflow's scoring protocol asks of a champion: rows of a data frame in, answers out."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_CONFLICT,
    TEMPORARILY_UNAVAILABLE,
)

from serving.errors import (
    InputError,
    LogUnavailableError,
    RequestConflictError,
    ServingError,
)
from serving.prediction import ModelIdentity, Prediction, check_key, entity_id, predict_rows
from serving.scorer import PortableScorer

Record = Callable[[list[Prediction], str | None], list[Prediction]]


def invoke(
    scorer: PortableScorer,
    model: ModelIdentity,
    frame: pd.DataFrame,
    params: dict[str, Any] | None,
    record: Record,
) -> pd.DataFrame:
    """Score and record rows.

    Args:
        scorer: scores them.
        model: whose scorer that is.
        frame: the feature columns and optionally `id`, the caller's own keys.
        params: `request_id`, optional: the same id gets the same answer, logged once.
        record: makes predictions durable under a request's id, and returns what to answer.

    Returns:
        One row for each of `frame`: `prediction_id`, `score`, `label`.

    Raises:
        MlflowException: with a status that tells whose fault it is: 400 for rows that do not
            fit, 409 for a request id used with other rows, 503 if the predictions could not
            be logged.
    """
    request_id = (params or {}).get("request_id") or None
    try:
        if request_id is not None:
            check_key("request_id", request_id)
        matrix = scorer.matrix(frame)
        keys = frame["id"] if "id" in frame.columns else [None] * len(frame)
        entity_ids = [entity_id(key, row) for row, key in enumerate(keys)]
        rows = record(predict_rows(scorer, model, matrix, entity_ids, request_id), request_id)
    except ServingError as error:
        raise MlflowException(str(error), error_code=_code(error)) from None
    columns = ("prediction_id", "score", "label")
    return pd.DataFrame(
        {name: [getattr(row, name) for row in rows] for name in columns}, index=frame.index
    )


def _code(error: ServingError) -> int:
    if isinstance(error, InputError):
        return INVALID_PARAMETER_VALUE
    if isinstance(error, RequestConflictError):
        return RESOURCE_CONFLICT
    if isinstance(error, LogUnavailableError):
        return TEMPORARILY_UNAVAILABLE
    return INTERNAL_ERROR
