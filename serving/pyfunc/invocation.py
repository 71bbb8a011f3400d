"""MLflow's scoring protocol: a data frame of rows in, a data frame of predictions out."""

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
from serving.model.prediction import (
    ModelIdentity,
    Prediction,
    check_identifier,
    parse_entity_id,
    predict_rows,
)
from serving.model.scorer import PortableScorer

# MLflow's server reads CSV with pandas: of lines with one value more than the header, the first
# becomes the index, and all others move to the column before theirs.
SHIFTED = (
    "row 0: has more values than the header or an index that is not of integers: send a value for "
    "each column, and frames without their index"
)

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
        scorer: the scorer of `model`.
        model: the identity to log.
        frame: the feature columns and optionally the id column with the caller's ids.
        params: optionally `request_id`: a request repeated with the same id gets the same
            answer and is logged once.
        record: makes predictions durable under a request id, and returns those to answer.

    Returns:
        One row for each of `frame`: `prediction_id`, `score`, `label`.

    Raises:
        MlflowException: with status 400 for invalid rows, 409 for a request id used before with
            other rows, 503 if the predictions could not be logged.
    """
    request_id = (params or {}).get("request_id") or None
    try:
        if request_id is not None:
            check_identifier("request_id", request_id)
        valid = scorer.schema.parse_frame(frame)
        column = scorer.manifest.id_column
        ids = frame[column] if column in frame.columns else [None] * len(frame)
        entity_ids = [parse_entity_id(value, row, column) for row, value in enumerate(ids)]
        rows = record(predict_rows(scorer, model, valid, entity_ids, request_id), request_id)
    except ServingError as error:
        raise MlflowException(error.for_callers, error_code=_code(error)) from None
    columns = ("prediction_id", "score", "label")
    return pd.DataFrame(
        {name: [getattr(row, name) for row in rows] for name in columns}, index=frame.index
    )


def check_index(frame: pd.DataFrame) -> None:
    """Check that no values of a request became the index of its frame.

    An index of integers may be one that the caller sent with `dataframe_split`.

    Raises:
        MlflowException: with status 400.
    """
    if len(frame) and not pd.api.types.is_integer_dtype(frame.index.dtype):
        raise MlflowException(SHIFTED, error_code=INVALID_PARAMETER_VALUE)


def _code(error: ServingError) -> int:
    if isinstance(error, InputError):
        return INVALID_PARAMETER_VALUE
    if isinstance(error, RequestConflictError):
        return RESOURCE_CONFLICT
    if isinstance(error, LogUnavailableError):
        return TEMPORARILY_UNAVAILABLE
    return INTERNAL_ERROR
