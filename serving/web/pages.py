"""What the service shows to people: its root page and the documentation of its routes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import fastapi_offline
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from serving.errors import LogUnavailableError, ServingError
from serving.history import Counts, StoredPrediction
from serving.prediction import Prediction
from serving.prediction_log import PredictionLog
from serving.web.champions import LoadedChampion
from serving.web.columns import ID
from serving.web.example import example_for
from serving.web.problems import of_serving_error, problem

RECENT = 20
FORM = "application/x-www-form-urlencoded"
# Nothing from elsewhere, no script, and no page of others around it.
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " + (
    "base-uri 'none'; frame-ancestors 'none'"
)
# Swagger writes styles into its elements, shows pictures of its own, and sends requests.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)
templates = Environment(
    loader=PackageLoader("serving.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def mount_files(app: FastAPI) -> None:
    """Serve the pages' own files and those of Swagger, as its wheel brings them."""
    swagger = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/static/swagger", StaticFiles(directory=swagger))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the routes with a worked example."""
    return _page("docs.html", 200, DOCS_POLICY)


@router.get("/")
async def root(request: Request, example: int | None = None) -> HTMLResponse:
    """Show the champion, what it answered lately, and a form to try it."""
    champion = request.app.state.champions.present
    values: dict[str, Any] = {}
    if champion is not None and example in (0, 1):
        columns = example_for(champion.scorer.manifest.features)
        values = {name: column[example] for name, column in columns.items()}
    return await _root(request, 200, values=values)


@router.post("/")
async def try_it(request: Request) -> Response:
    """Score the row of the form, logged like any other, and show the answer."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        return problem(415, f"Content-Type: must be {FORM}")
    try:
        sent = parse_qsl((await request.body()).decode(), keep_blank_values=True)
    except ValueError:
        return problem(400, "body: must be the form of this page")
    values = dict(sent)
    try:
        answer = await request.app.state.predictor.predict_one(_row(values))
    except ServingError as error:
        status = of_serving_error(error).status_code
        return await _root(request, status, values=values, error=str(error))
    return await _root(request, 200, values=values, answer=answer)


def _row(values: dict[str, str]) -> dict[str, Any]:
    """Return the form's fields as a row: empty ones are null."""
    row: dict[str, Any] = {name: _number(value) for name, value in values.items() if name != ID}
    return row | {ID: values.get(ID) or None}


def _number(text: str) -> float | str | None:
    """Return the number in `text`; what is none stays text, and is refused as such."""
    if not text.strip():
        return None
    try:
        return float(text) if "_" not in text else text
    except ValueError:
        return text


async def _root(
    request: Request,
    status: int,
    *,
    values: dict[str, Any],
    answer: Prediction | None = None,
    error: str | None = None,
) -> HTMLResponse:
    log: PredictionLog = request.app.state.log
    champion = request.app.state.champions.present
    counts, recent, away = await run_in_threadpool(_logged, log)
    return _page(
        "root.html",
        status,
        POLICY,
        champion=champion,
        trouble=request.app.state.champions.trouble,
        metrics=_metrics(champion),
        log=log.status(),
        counts=counts,
        recent=recent,
        away=away,
        values=values,
        answer=answer,
        error=error,
    )


@dataclass(frozen=True)
class Metric:
    """A metric on the test rows under the name that people use; the interval may be unknown."""

    name: str
    value: float
    low: float | None
    high: float | None


def _metrics(champion: LoadedChampion | None) -> list[Metric]:
    found = champion.target.metrics if champion else {}
    return [
        Metric(
            name.removeprefix("test_").replace("_", " "),
            value,
            found.get(f"{name}_low"),
            found.get(f"{name}_high"),
        )
        for name, value in found.items()
        if math.isfinite(value) and not name.endswith(("_low", "_high"))
    ]


def _logged(log: PredictionLog) -> tuple[Counts | None, list[StoredPrediction], str | None]:
    """Return counts and recent predictions, or why they cannot be shown."""
    try:
        return log.counts(), log.page(limit=RECENT).predictions, None
    except LogUnavailableError as error:
        return None, [], str(error)


def _page(name: str, status: int, policy: str, **values: Any) -> HTMLResponse:
    html = templates.get_template(name).render(values)
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, status, headers)
