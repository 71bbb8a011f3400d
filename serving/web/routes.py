"""What the service answers to programs."""

import csv
import io
from dataclasses import asdict, fields
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from mlflow.exceptions import MlflowException
from mlflow.version import VERSION
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.history import Page, StoredPrediction
from serving.prediction import LONGEST_KEY
from serving.prediction_log import PredictionLog
from serving.scorer import Feature
from serving.web import metrics
from serving.web.champions import ChampionWatch
from serving.web.labels import FeedbackBody, read_labels
from serving.web.openapi import body_of, problems, reference
from serving.web.predicting import KEY_HEADER, Predictor
from serving.web.problems import problem

JSON = "application/json"
CSV = "text/csv"
LONGEST_PAGE = 1_000

KEY_PARAMETER = {
    "name": KEY_HEADER,
    "in": "header",
    "description": "makes a retry safe: same key, same answer, logged once",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
}

PREDICT, LOG, OPERATE = "predict", "the log", "operate"

router = APIRouter()


class Answer(BaseModel):
    """One row's answer: `score` is the probability of class 1 at the training prior, `label`
    whether it reaches the champion's threshold.
    """

    prediction_id: str
    id: str | int | None
    score: float
    label: int


class ModelVersion(BaseModel):
    """The model that answered."""

    name: str | None
    version: str | None


class Answers(BaseModel):
    """An answer for each row, in their order."""

    predictions: list[Answer]
    model: ModelVersion


class Recorded(BaseModel):
    """How many labels were stored, and the ids that no prediction has."""

    recorded: int
    unknown: list[str]


class ChampionDescription(ModelVersion):
    """The champion that answers; `trouble` says why a newer one could not be loaded."""

    uri: str
    run_id: str | None
    kind: str
    threshold: float
    features: list[Feature]
    metrics: dict[str, float]
    tags: dict[str, str]
    loaded_at: str
    trouble: str | None


class Readiness(BaseModel):
    """`degraded`: rows are durable on this machine, but not in the log yet; `reason` says why."""

    status: str
    reason: str | None
    spooled: int
    model: ModelVersion


def _log(request: Request) -> PredictionLog:
    log: PredictionLog = request.app.state.log
    return log


def _champions(request: Request) -> ChampionWatch:
    champions: ChampionWatch = request.app.state.champions
    return champions


def _predictor(request: Request) -> Predictor:
    predictor: Predictor = request.app.state.predictor
    return predictor


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type=JSON)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON


@router.post(
    "/predict",
    tags=[PREDICT],
    response_model=Answers,
    responses=problems(400, 403, 409, 413, 415, 422, 503),
    openapi_extra=body_of({"type": "object"}) | {"parameters": [KEY_PARAMETER]},
)
async def predict(request: Request) -> Response:
    """Score rows: the model's columns as lists of equal length, or single values for one row.

    `id` is optional and yours: a string or an integer for each row.
    """
    if not _is_json(request):
        return _wrong_content_type(JSON)
    body = await request.body()
    answer = await _predictor(request).predict(body, request.headers.get(KEY_HEADER))
    return Response(answer, media_type=JSON)


class ShortWay:
    """Answers `POST /predict` without what FastAPI does for each request of a route, such as to
    gather its arguments: that takes as long as all the rest. FastAPI documents the route.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["route"] = short_way  # where FastAPI notes it: requests are counted by route
        response = await predict(Request(scope, receive))
        await response(scope, receive, send)


short_way = Route("/predict", ShortWay(), methods=["POST"])


def _wrong_content_type(*expected: str) -> Response:
    return problem(415, f"Content-Type: must be {' or '.join(expected)}")


@router.post(
    "/invocations",
    tags=[PREDICT],
    responses=problems(400, 403, 409, 413, 415, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"type": "object"}}, CSV: {"schema": {"type": "string"}}},
        }
    },
)
async def invocations(request: Request) -> Response:
    """MLflow's scoring protocol: `dataframe_split`, `dataframe_records`, `instances`, `inputs`
    or CSV, and `params.request_id`, which makes a retry safe.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip() not in (JSON, CSV):
        return _wrong_content_type(JSON, CSV)
    try:
        done = await _predictor(request).invocations(await request.body(), content_type)
    except MlflowException as error:
        # MLflow's clients read error_code and message.
        status = error.get_http_status_code()
        reason = _reason(error.message)
        return problem(status, reason, error_code=error.error_code, message=reason)
    if done.status != 200:
        return problem(done.status, done.response)
    return Response(done.response, media_type=done.mimetype)


def _reason(message: str) -> str:
    """Return what is wrong in one line; MLflow puts all rows in front of it."""
    if message.startswith("Failed to predict data"):
        message = message.rpartition("Error: ")[2]
    return message.strip().partition("\n")[0]


@router.get("/ping", tags=[OPERATE], responses=problems(503), response_class=PlainTextResponse)
async def ping(request: Request) -> Response:
    """Tell whether a champion answers, as MLflow's scoring server does."""
    _champions(request).current()
    return PlainTextResponse("\n")


@router.get("/version", tags=[OPERATE], responses=problems(), response_class=PlainTextResponse)
async def version() -> Response:
    """Return MLflow's version, as MLflow's scoring server does."""
    return PlainTextResponse(VERSION)


@router.post(
    "/feedback",
    tags=[LOG],
    response_model=Recorded,
    responses=problems(400, 403, 413, 415, 422, 503),
    openapi_extra=body_of(reference(FeedbackBody)),
)
async def feedback(request: Request) -> Response:
    """Store what turned out to be true, for prediction ids or for your own ids.

    Labels may come late, again (the last one counts, all are kept) and in bulk. A label for your
    `id` belongs to the last prediction of that id made before `observed_at` (default: now).
    """
    if not _is_json(request):
        return _wrong_content_type(JSON)
    body = await request.body()
    stored = await run_in_threadpool(lambda: _log(request).feedback(read_labels(body)))
    return _json(asdict(stored))


@router.get(
    "/predictions",
    tags=[LOG],
    responses=problems(422, 503) | {200: {"content": {CSV: {"schema": {"type": "string"}}}}},
)
async def predictions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 100,
    before: Annotated[str | None, Query(description="`next` of the page before")] = None,
) -> Response:
    """Return logged predictions with their latest labels, newest first.

    As CSV for `Accept: text/csv`; the header `Link` names the next page of both.
    """
    page = await run_in_threadpool(_log(request).page, before, limit)
    as_csv = CSV in request.headers.get("accept", "")
    response = Response(_csv(page), media_type=CSV) if as_csv else _json(page)
    if page.next:
        response.headers["Link"] = f'<predictions?limit={limit}&before={page.next}>; rel="next"'
    return response


def _csv(page: Page) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(StoredPrediction)])
    writer.writeheader()
    for row in page.predictions:
        features = orjson.dumps(row.features).decode() if row.features is not None else None
        writer.writerow(asdict(row) | {"features": features})
    return table.getvalue()


@router.get("/model", tags=[OPERATE], response_model=ChampionDescription, responses=problems(503))
async def model(request: Request) -> Response:
    """Describe the champion that answers: version, threshold, features, metrics on test rows."""
    champions = _champions(request)
    champion = champions.current()
    manifest = champion.scorer.manifest
    return _json(
        {
            "name": champion.model.name,
            "version": champion.model.version,
            "uri": champion.target.uri,
            "run_id": champion.model.run_id,
            "kind": manifest.kind,
            "threshold": manifest.threshold,
            "features": manifest.features,
            "metrics": champion.target.metrics,
            "tags": champion.target.tags,
            "loaded_at": champion.loaded_at.isoformat(),
            "trouble": champions.trouble,
        }
    )


@router.get("/health/live", tags=[OPERATE], responses=problems())
async def live() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "alive"}


@router.get("/health/ready", tags=[OPERATE], response_model=Readiness, responses=problems(503))
async def ready(request: Request) -> Response:
    """Tell whether rows can be scored and made durable."""
    champion = _champions(request).current()
    log = _log(request)
    log.check_writable()
    status = log.status()
    return _json(
        {
            "status": "degraded" if status.degraded else "ready",
            "reason": status.reason,
            "spooled": status.spooled,
            "model": {"name": champion.model.name, "version": champion.model.version},
        }
    )


@router.get("/metrics", tags=[OPERATE], responses=problems(), response_class=PlainTextResponse)
async def prometheus(request: Request) -> Response:
    """Return the service's metrics for Prometheus."""
    exposition = metrics.exposition(_log(request).status(), _champions(request).version)
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})
