"""HTML pages: the root page, and the documentation of the routes."""

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
from serving.log.protocol import LogProtocol
from serving.log.queries import Counts, StoredPrediction
from serving.model.explanations import Explanation
from serving.model.prediction import Prediction
from serving.web.contributions import bars
from serving.web.csv_body import parse_fields
from serving.web.example import example_for
from serving.web.json_body import MAX_NAMES
from serving.web.loading import LoadedChampion
from serving.web.openapi import MAX_CHOICES
from serving.web.problems import invalid, status_of
from serving.web.routes.requests import (
    champions_of,
    check_media_type,
    log_of,
    predictor_of,
    read_log,
    shadow_of,
)

RECENT_ROWS = 20
# The page does not count more rows of the log, which would take seconds for millions.
MAX_COUNTED = 100_000
FORM = "application/x-www-form-urlencoded"
# No external content, no scripts, and no embedding in other pages.
POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " + (
    "base-uri 'none'; frame-ancestors 'none'"
)
# Swagger needs inline styles, its own pictures, and requests to this service.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)
WEB = Path(__file__).parents[1]
templates = Environment(
    loader=PackageLoader("serving.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def mount_files(app: FastAPI) -> None:
    """Serve the static files of the pages, and those of Swagger from its wheel."""
    swagger = Path(fastapi_offline.__file__).parent / "static"
    app.mount("/static/swagger", StaticFiles(directory=swagger))
    app.mount("/static", StaticFiles(directory=WEB / "static"))


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the routes, with a worked example."""
    return _page("docs.html", 200, DOCS_POLICY)


@router.get("/")
async def root(request: Request, example: int | None = None) -> HTMLResponse:
    """Show the champion, its recent predictions, and a form to try it."""
    champion = champions_of(request).loaded
    values: dict[str, Any] = {}
    if champion is not None and example in (0, 1):
        columns = example_for(champion.scorer.manifest)
        values = {name: _shown(column[example]) for name, column in columns.items()}
    return await _root(request, 200, values=values)


@router.post("/")
async def submit_form(request: Request) -> Response:
    """Score and log the row of the form, and show the prediction."""
    check_media_type(request, FORM)
    body = await request.body()
    fields = await run_in_threadpool(_parse_form, body)
    values = dict(fields)
    try:
        answer, explanation = await predictor_of(request).predict_one(lambda: parse_fields(fields))
    except ServingError as error:
        status = status_of(error)
        return await _root(request, status, values=values, error=error.for_callers)
    return await _root(request, 200, values=values, answer=answer, explanation=explanation)


def _shown(value: Any) -> str:
    """Return a value of the example as the form's fields have it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_form(body: bytes) -> list[tuple[str, str]]:
    """Return the fields of a form in UTF-8.

    Raises:
        InvalidRequestError: the body is not a form.
    """
    try:
        return parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_NAMES,
        )
    except ValueError:
        raise invalid("body", "must be the form of this page", status=400) from None


async def _root(
    request: Request,
    status: int,
    *,
    values: dict[str, Any],
    answer: Prediction | None = None,
    explanation: Explanation | None = None,
    error: str | None = None,
) -> HTMLResponse:
    log = log_of(request)
    champion = champions_of(request).loaded
    shadow = shadow_of(request)
    counts, recent, log_error = await read_log(request, _logged)
    return _page(
        "root.html",
        status,
        POLICY,
        champion=champion,
        max_choices=MAX_CHOICES,
        load_error=champions_of(request).last_error,
        metrics=_metrics(champion),
        shadow=shadow,
        shadow_trouble=shadow.trouble(champion) if shadow and champion else None,
        shadow_metrics=_metrics(shadow.challenger if shadow else None),
        log=log.status(),
        counts=counts,
        recent=recent,
        log_error=log_error,
        values=values,
        answer=answer,
        explanation=explanation,
        bars=bars(explanation) if explanation else [],
        error=error,
    )


@dataclass(frozen=True)
class Metric:
    """A metric on the test rows, under its usual name; `low` and `high` bound its interval."""

    name: str
    value: float
    low: float | None
    high: float | None


def _metrics(champion: LoadedChampion | None) -> list[Metric]:
    found = champion.source.metrics if champion else {}
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


def format_count(count: int) -> str:
    """Return a number of rows, of which no more than one above the limit were counted."""
    return f"{count:,}" if count <= MAX_COUNTED else f"more than {MAX_COUNTED:,}"


templates.filters["format_count"] = format_count


def _logged(log: LogProtocol) -> tuple[Counts | None, list[StoredPrediction], str | None]:
    """Return counts and recent predictions, or the reason why they are unavailable."""
    try:
        return *log.overview(MAX_COUNTED + 1, RECENT_ROWS), None
    except LogUnavailableError as error:
        return None, [], error.for_callers


def _page(name: str, status: int, policy: str, **values: Any) -> HTMLResponse:
    html = templates.get_template(name).render(values)
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(html, status, headers)
