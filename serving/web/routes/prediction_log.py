"""Routes of the prediction log: feedback and logged predictions."""

import csv
import io
from dataclasses import asdict, fields
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from serving.log.formulas import as_text_cell
from serving.log.protocol import LogProtocol
from serving.log.queries import Page, StoredPrediction
from serving.web.feedback import FeedbackBody, parse_labels
from serving.web.openapi import PREDICTION_LOG, body_of, problems, reference
from serving.web.routes.requests import (
    CSV,
    JSON,
    check_media_type,
    check_query,
    json_response,
    log_of,
    read_log,
)

LONGEST_PAGE = 1_000

router = APIRouter()


class Recorded(BaseModel):
    """The number of labels stored, and the ids without a prediction."""

    recorded: int
    unknown: list[str]


@router.post(
    "/feedback",
    tags=[PREDICTION_LOG],
    response_model=Recorded,
    responses=problems(400, 403, 408, 413, 415, 422, 503),
    openapi_extra=body_of(reference(FeedbackBody)),
)
async def feedback(request: Request) -> Response:
    """Store ground-truth labels, for prediction ids or for your own ids.

    Labels may arrive late, in bulk, and repeatedly: all are kept, and the latest counts. A label
    for your `id` belongs to the last prediction of that id made before `observed_at` (default:
    now).
    """
    check_media_type(request, JSON)
    body = await request.body()
    stored = await run_in_threadpool(lambda: log_of(request).feedback(parse_labels(body)))
    return json_response(asdict(stored))


@router.get(
    "/predictions",
    tags=[PREDICTION_LOG],
    responses=problems(422, 503) | {200: {"content": {CSV: {"schema": {"type": "string"}}}}},
)
async def predictions(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 100,
    before: Annotated[str | None, Query(description="`next` of the previous page")] = None,
) -> Response:
    """Return logged predictions with their latest labels, newest first.

    With `Accept: text/csv`, the answer is CSV. The header `Link` names the next page.
    """
    check_query(request)
    as_csv = CSV in request.headers.get("accept", "").lower()

    def render(log: LogProtocol) -> Response:
        page = log.page(before, limit)
        response = Response(_csv(page), media_type=CSV) if as_csv else json_response(page)
        if page.next:
            response.headers["Link"] = f'<predictions?limit={limit}&before={page.next}>; rel="next"'
        return response

    return await read_log(request, render)


def _csv(page: Page) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(StoredPrediction)])
    writer.writeheader()
    for row in page.predictions:
        features = orjson.dumps(row.features).decode() if row.features is not None else None
        cells = asdict(row) | {"features": features}
        writer.writerow({name: _cell(value) for name, value in cells.items()})
    return table.getvalue()


def _cell(value: Any) -> Any:
    return as_text_cell(value) if isinstance(value, str) else value
