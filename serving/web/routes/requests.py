"""Access to the parts of the service from a request, and answers shared by the routes."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from anyio import to_thread
from fastapi import Request, Response
from starlette.exceptions import HTTPException

from serving.log.protocol import LogProtocol
from serving.web.champions import ChampionWatch
from serving.web.json_body import SHOWN_CHARACTERS
from serving.web.predictor import IDEMPOTENCY_HEADER, Predictor
from serving.web.problems import invalid
from serving.web.shadow import Shadow

T = TypeVar("T")

IDEMPOTENCY_KEY = IDEMPOTENCY_HEADER.lower().encode()
JSON = "application/json"
CSV = "text/csv"
CHARSET = re.compile(r"charset\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)


def log_of(request: Request) -> LogProtocol:
    """Return the prediction log."""
    log: LogProtocol = request.app.state.log
    return log


async def read_log(request: Request, read: Callable[[LogProtocol], T]) -> T:
    """Return what `read` finds in the log, without blocking the event loop.

    Few threads read at once: they would take turns with the event loop, and predictions wait.
    """
    log, limiter = log_of(request), request.app.state.log_readers
    return await to_thread.run_sync(lambda: read(log), limiter=limiter)


def champions_of(request: Request) -> ChampionWatch:
    """Return the watch that holds the current champion."""
    champions: ChampionWatch = request.app.state.champions
    return champions


def predictor_of(request: Request) -> Predictor:
    """Return the predictor."""
    predictor: Predictor = request.app.state.predictor
    return predictor


def shadow_of(request: Request) -> Shadow | None:
    """Return the shadow, None if the service has none."""
    shadow: Shadow | None = request.app.state.shadow
    return shadow


def check_media_type(request: Request, *expected: str) -> str:
    """Return the media type of the body, without its parameters.

    Raises:
        HTTPException: it is not one of `expected`, or not in UTF-8.
    """
    given, _, parameters = (_header(request, b"content-type") or "").partition(";")
    media_type = given.strip().lower()
    if media_type not in expected:
        raise HTTPException(415, f"Content-Type: must be {' or '.join(expected)}")
    if parameters:
        charset = CHARSET.search(parameters)
        if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
            raise HTTPException(415, "Content-Type: charset must be utf-8")
    return media_type


def idempotency_key(request: Request) -> str | None:
    """Return the header that makes a retry safe."""
    return _header(request, IDEMPOTENCY_KEY)


def _header(request: Request, name: bytes) -> str | None:
    # Starlette's mapping of headers takes several times as long.
    for given, value in request.scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def check_query(request: Request) -> None:
    """Check that no parameter of the query is repeated.

    Raises:
        InvalidRequestError: one is.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"query.{name[:SHOWN_CHARACTERS]}", "must be given once, is repeated")


def json_response(content: Any) -> Response:
    """Return `content` as JSON."""
    return Response(orjson.dumps(content), media_type=JSON)
