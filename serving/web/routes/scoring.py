"""Routes that score rows: `/predict`, and MLflow's scoring protocol."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from mlflow.version import VERSION
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.errors import ServingError
from serving.model.prediction import LONGEST_IDENTIFIER
from serving.web.openapi import OPERATIONS, PREDICT, body_of, problems
from serving.web.predictor import IDEMPOTENCY_HEADER
from serving.web.problems import FAILED, error_response, response_to, status_of
from serving.web.routes.requests import (
    CSV,
    JSON,
    champions_of,
    check_media_type,
    idempotency_key,
    predictor_of,
)

IDEMPOTENCY_PARAMETER: dict[str, Any] = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "description": "Makes retries safe: a request repeated with the same key gets the same "
    "answer and is logged once.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_IDENTIFIER,
        "pattern": "^[ -~]+$",
    },
}

ERROR_CODES = {
    409: "RESOURCE_CONFLICT",
    413: "INVALID_PARAMETER_VALUE",
    422: "INVALID_PARAMETER_VALUE",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}

router = APIRouter()


def _without_default(schema: dict[str, Any]) -> None:
    """Remove the default: the member is absent unless it is asked for."""
    schema.pop("default", None)


class Answer(BaseModel):
    """The prediction for one row.

    `score` is the probability of class 1 at the rate of the training rows or, if the champion is
    calibrated, of the validation rows; `label` is 1 if the score reaches the champion's threshold.
    If the request asks to explain, `base` and `contributions` add up to the log-odds of `score`:
    the mean of the reference rows, and the share of each column.
    """

    prediction_id: str
    id: str | int | None
    score: float
    label: int
    base: float = Field(default=0.0, json_schema_extra=_without_default)
    contributions: dict[str, float] = Field(default={}, json_schema_extra=_without_default)


class ModelVersion(BaseModel):
    """The model that answered."""

    name: str | None
    version: str | None


class Answers(BaseModel):
    """One prediction for each row, in the order of the request."""

    predictions: list[Answer]
    model: ModelVersion
    explanations: str = Field(
        default="",
        description="Why a retry has no explanations: another version answered the first attempt.",
        json_schema_extra=_without_default,
    )


@router.post(
    "/predict",
    tags=[PREDICT],
    response_model=Answers,
    responses=problems(400, 403, 408, 409, 413, 415, 422, 503),
    openapi_extra=body_of({"type": "object"}) | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def predict(request: Request) -> Response:
    """Score rows, given as lists of equal length by column, or as single values for one row.

    `id` is optional: your own string or integer for each row. `explain` adds to each prediction, of
    at most 20 rows, how much each column contributes to it.
    """
    check_media_type(request, JSON)
    answer = await predictor_of(request).predict(await request.body(), idempotency_key(request))
    return Response(answer, media_type=JSON)


class DirectPredict:
    """ASGI application for `POST /predict` that bypasses FastAPI.

    FastAPI's layers and its handling of arguments take longer than scoring a row. It still
    documents the route.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, an error as FastAPI does."""
        scope["route"] = direct_predict  # requests are counted by route
        try:
            response = await predict(Request(scope, receive))
        except (ServingError, HTTPException) as error:
            response = response_to(error)
        except Exception as error:
            await response_to(error)(scope, receive, send)
            raise  # for the server's log
        await response(scope, receive, send)


direct_predict = Route("/predict", DirectPredict(), methods=["POST"])


@router.post(
    "/invocations",
    tags=[PREDICT],
    responses=problems(400, 403, 408, 409, 413, 415, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"type": "object"}}, CSV: {"schema": {"type": "string"}}},
        },
        "parameters": [IDEMPOTENCY_PARAMETER],
    },
)
async def invocations(request: Request) -> Response:
    """Score rows in MLflow's scoring protocol.

    The body is `dataframe_split`, `dataframe_records`, `instances`, `inputs` or CSV. With
    `params.request_id` or the header `Idempotency-Key`, retries are safe.
    """
    is_csv = check_media_type(request, JSON, CSV) == CSV
    body = await request.body()
    try:
        answer = await predictor_of(request).invocations(body, is_csv, idempotency_key(request))
    except ServingError as error:
        return _protocol_error(error)
    return Response(answer, media_type=JSON)


def _protocol_error(error: ServingError) -> Response:
    """Return `error` with the members that MLflow's clients read; they expect 400, not 422."""
    status = status_of(error)
    message = FAILED if status == 500 else error.for_callers
    return error_response(
        error,
        400 if status == 422 else status,
        error_code=ERROR_CODES.get(status, "BAD_REQUEST"),
        message=message,
    )


@router.get("/ping", tags=[OPERATIONS], responses=problems(503), response_class=PlainTextResponse)
async def ping(request: Request) -> Response:
    """Check that a champion is loaded, as MLflow's scoring server does."""
    champions_of(request).current()
    return PlainTextResponse("\n")


@router.get("/version", tags=[OPERATIONS], responses=problems(), response_class=PlainTextResponse)
async def version() -> Response:
    """Return MLflow's version, as MLflow's scoring server does."""
    return PlainTextResponse(VERSION)
