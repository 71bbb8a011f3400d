"""Middleware for API keys, open access, cross-origin requests, bodies, and request metrics."""

import asyncio
import base64
import binascii
import hmac
import time
import types
from collections import Counter
from collections.abc import Generator, Iterable
from typing import Any
from urllib.parse import urlsplit

from fastapi import Response
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import Violation
from serving.settings import ServiceSettings
from serving.web import metrics
from serving.web.open_access import OpenAccess
from serving.web.problems import problem_response

OPEN = "/health/"
METRICS = "/metrics"
CHALLENGE = {"WWW-Authenticate": 'Basic realm="ml-pipes", charset="UTF-8"'}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# Seconds in which a body must arrive.
BODY_TIMEOUT = 20.0
# Headers whose meaning is unclear if they are repeated.
SINGLE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"origin",
        b"sec-fetch-site",
        b"x-api-key",
    }
)


class SecurityMiddleware:
    """ASGI middleware that refuses requests without access, from other origins, or too large."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self.app = app
        self._keys = settings.keys
        self._open = OpenAccess(settings.host_names)
        self._max_bytes = settings.max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        is_head = scope["method"] == "HEAD"
        if is_head:  # the headers of GET
            scope = {**scope, "method": "GET"}

        async def send_recording(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], NO_SNIFFING]
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            headers = dict(scope["headers"])
            app = self._refusal(scope, headers) or self.app
            if scope["method"] in UNSAFE:
                receive = self._guarded(receive)
            await app(scope, receive, send_recording)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            metrics.count_request(route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        return (
            _repeated_header(scope, headers)
            or self._no_access(scope, headers)
            or (self._unsafe(headers) if scope["method"] in UNSAFE else None)
        )

    def _no_access(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        path = get_route_path(scope)  # without the root path, as routes are matched
        is_health = path.startswith(OPEN)
        if not self._keys:
            any_name = is_health or path == METRICS
            host = headers.get(b"host", b"")
            server = tuple(scope.get("server") or ("", None))
            reason = self._open.refusal(server, host, any_name)
            return problem_response(403, reason) if reason else None
        if is_health or self._has_key(headers):
            return None
        detail = "API key missing or invalid: send it as header X-API-Key or HTTP Basic password"
        return problem_response(401, detail, headers=CHALLENGE)

    def _unsafe(self, headers: dict[bytes, bytes]) -> Response | None:
        if is_cross_site(headers):
            return problem_response(
                403, "request from a page of another origin: only pages of this service may send it"
            )
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_bytes:
            return problem_response(413, f"body: must have at most {self._max_bytes} bytes")
        encoding = headers.get(b"content-encoding")
        if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
            shown = encoding.strip().lower().decode("latin-1")
            return problem_response(415, f"Content-Encoding: must not be set, is {shown}")
        return None

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        given = [headers.get(b"x-api-key", b""), *_basic_password(headers)]
        # All keys are compared: the time taken must not reveal a match.
        matches = [hmac.compare_digest(candidate, key) for candidate in given for key in self._keys]
        return any(matches)

    def _guarded(self, receive: Receive) -> Receive:
        """Return `receive` with limits on the size of a body and on the time it takes."""
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT

        async def receive_counting() -> Message:
            nonlocal received, complete
            if complete:  # only a disconnect may follow
                return await receive()
            try:
                message = await _received_by(deadline, receive)
            except TimeoutError:
                raise HTTPException(
                    408,
                    f"body: must be sent within {BODY_TIMEOUT:g} seconds",
                    {"Connection": "close"},
                ) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, f"body: must have at most {self._max_bytes} bytes")
            return message

        return receive_counting


async def _received_by(deadline: float, receive: Receive) -> Message:
    """Return the next message, or raise TimeoutError at `deadline`.

    A body that has arrived with its headers needs no timer, which takes longer than other checks.
    """
    steps = receive().__await__()
    try:
        awaited = next(steps)
    except StopIteration as received:
        message: Message = received.value
        return message
    async with asyncio.timeout_at(deadline):
        return await _resumed(awaited, steps)


@types.coroutine
def _resumed(awaited: Any, steps: Generator[Any, Any, Message]) -> Generator[Any, Any, Message]:
    """Continue a coroutine that has been started up to the future it awaits."""
    yield awaited
    return (yield from steps)


def _repeated_header(scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
    if len(headers) == len(scope["headers"]):
        return None
    counts = Counter(name for name, _ in scope["headers"])
    for name in sorted(SINGLE):
        if counts[name] > 1:
            violation = Violation(name.decode().title(), "must be sent once, is repeated")
            return problem_response(400, str(violation), [violation])
    return None


def is_cross_site(headers: dict[bytes, bytes]) -> bool:
    """Return whether a browser declares that a page of another origin sent the request.

    A browser attaches its user's credentials, and lets any page reach 127.0.0.1. Its own
    declaration takes precedence: behind a proxy, the host seen here may differ from the page's.
    """
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"none", b"same-origin")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    try:
        host = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:
        return True
    return host != headers.get(b"host", b"").decode("latin-1")


def _basic_password(headers: dict[bytes, bytes]) -> Iterable[bytes]:
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return
    try:
        _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
    except binascii.Error:
        return
    yield password
