"""Routes for operators: the current champion, health and metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from serving.model.features import Feature
from serving.web import metrics
from serving.web.openapi import OPERATIONS, problems
from serving.web.routes.requests import champions_of, json_response, log_of
from serving.web.routes.scoring import ModelVersion

router = APIRouter()


class ChampionDescription(ModelVersion):
    """The current champion.

    The second of `classes` is the value of the target that stands for class 1, the first that for
    class 0. `trouble` is the reason why a newer champion could not be loaded.
    """

    uri: str
    run_id: str | None
    kind: str
    threshold: float
    threshold_rule: str
    target: str
    classes: tuple[str, str]
    id_column: str
    features: list[Feature]
    metrics: dict[str, float]
    tags: dict[str, str]
    loaded_at: str
    trouble: str | None


class Readiness(BaseModel):
    """The readiness of the service.

    `degraded` means that predictions are durable on this machine but not in the log yet, for the
    given `reason`.
    """

    status: str
    reason: str | None
    spooled: int
    model: ModelVersion


@router.get(
    "/model", tags=[OPERATIONS], response_model=ChampionDescription, responses=problems(503)
)
async def model(request: Request) -> Response:
    """Describe the current champion: version, classes, features, and metrics on test rows."""
    champions = champions_of(request)
    champion = champions.current()
    manifest = champion.scorer.manifest
    return json_response(
        {
            "name": champion.model.name,
            "version": champion.model.version,
            "uri": champion.source.uri,
            "run_id": champion.model.run_id,
            "kind": manifest.kind,
            "members": [
                {"name": member.name, "kind": member.kind, "weight": member.weight}
                for member in manifest.members
            ],
            "threshold": manifest.threshold,
            "threshold_rule": manifest.threshold_rule,
            "target": manifest.target,
            "classes": manifest.classes,
            "id_column": manifest.id_column,
            "features": manifest.features,
            "metrics": champion.source.metrics,
            "tags": champion.source.tags,
            "loaded_at": champion.loaded_at.isoformat(),
            "trouble": champions.last_error,
        }
    )


@router.get("/health/live", tags=[OPERATIONS], responses=problems())
async def live() -> dict[str, str]:
    """Check that the process answers."""
    return {"status": "alive"}


@router.get("/health/ready", tags=[OPERATIONS], response_model=Readiness, responses=problems(503))
async def ready(request: Request) -> Response:
    """Check that rows can be scored and made durable."""
    champion = champions_of(request).current()
    log = log_of(request)
    log.check_writable()
    status = log.status()
    return json_response(
        {
            "status": "degraded" if status.degraded else "ready",
            "reason": status.for_callers,
            "spooled": status.spooled,
            "model": {"name": champion.model.name, "version": champion.model.version},
        }
    )


@router.get("/metrics", tags=[OPERATIONS], responses=problems(), response_class=PlainTextResponse)
async def prometheus(request: Request) -> Response:
    """Return the metrics of the service for Prometheus."""
    status, version = log_of(request).status(), champions_of(request).version
    # With all routes and statuses it takes 8 ms.
    exposition = await run_in_threadpool(metrics.exposition, status, version)
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})
