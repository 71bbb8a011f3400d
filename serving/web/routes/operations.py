"""Routes for operators: the current champion, health and metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from serving.model.features import Feature
from serving.web import metrics
from serving.web.loading import LoadedChampion
from serving.web.openapi import OPERATIONS, problems
from serving.web.routes.requests import champions_of, json_response, log_of, shadow_of
from serving.web.routes.scoring import ModelVersion
from serving.web.shadow import Shadow

router = APIRouter()

NO_CHALLENGER: dict[str, Any] = {
    "name": None,
    "version": None,
    "run_id": None,
    "threshold": None,
    "metrics": {},
    "tags": {},
    "loaded_at": None,
}


class ShadowDescription(BaseModel):
    """The challenger that scores in the shadow.

    While there is none, its fields are null or empty. `trouble` is the reason why it does not score
    rows.
    """

    name: str | None
    version: str | None
    run_id: str | None
    threshold: float | None
    metrics: dict[str, float]
    tags: dict[str, str]
    loaded_at: str | None
    trouble: str | None


class MemberDescription(BaseModel):
    """A member of an ensemble; `weight` is its share of the ensemble's log-odds."""

    name: str
    kind: str
    weight: float


class ChampionDescription(ModelVersion):
    """The current champion.

    The second of `classes` is the value of the target that stands for class 1, the first that for
    class 0. `members` is empty unless the champion is an ensemble. `trouble` is the reason why a
    newer champion could not be loaded. `shadow` is null if no shadow is configured.
    """

    uri: str
    run_id: str | None
    kind: str
    members: list[MemberDescription]
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
    shadow: ShadowDescription | None


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
        _describe(champion)
        | {
            "uri": champion.source.uri,
            "kind": manifest.kind,
            "members": [
                {"name": member.name, "kind": member.kind, "weight": member.weight}
                for member in manifest.members
            ],
            "threshold_rule": manifest.threshold_rule,
            "target": manifest.target,
            "classes": manifest.classes,
            "id_column": manifest.id_column,
            "features": manifest.features,
            "trouble": champions.last_error,
            "shadow": _describe_shadow(shadow_of(request), champion),
        }
    )


def _describe(loaded: LoadedChampion) -> dict[str, Any]:
    """Return what `/model` says of champion and challenger alike."""
    return {
        "name": loaded.model.name,
        "version": loaded.model.version,
        "run_id": loaded.model.run_id,
        "threshold": loaded.scorer.manifest.threshold,
        "metrics": loaded.source.metrics,
        "tags": loaded.source.tags,
        "loaded_at": loaded.loaded_at.isoformat(),
    }


def _describe_shadow(shadow: Shadow | None, champion: LoadedChampion) -> dict[str, Any] | None:
    if shadow is None:
        return None
    challenger = shadow.challenger  # read once: another thread may release it
    described = _describe(challenger) if challenger else NO_CHALLENGER
    return described | {"trouble": shadow.trouble(champion)}


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
    shadow = shadow_of(request)
    challenger = shadow.challenger if shadow else None
    shadow_version = challenger.model.version if challenger else None
    # With all routes and statuses it takes 8 ms.
    exposition = await run_in_threadpool(metrics.exposition, status, version, shadow_version)
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})
