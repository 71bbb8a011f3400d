"""The gate that every request passes: API key, origin, size of the body; and what is counted."""

import base64
import binascii
import hmac
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web import metrics
from serving.web.problems import problem
from serving.web.settings import Settings

OPEN = "/health/"
CHALLENGE = {"WWW-Authenticate": 'Basic realm="ml-pipes", charset="UTF-8"'}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class Gate:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._keys = settings.keys
        self._max_bytes = settings.max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], NO_SNIFFING]
            await send(message)

        try:
            headers = dict(scope["headers"])
            app = self._refusal(scope, headers) or self.app
            if scope["method"] in UNSAFE and b"content-length" not in headers:
                receive = self._limited(receive)
            await app(scope, receive, send_noting)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            metrics.count_request(route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        if self._keys and not scope["path"].startswith(OPEN) and not self._has_key(headers):
            detail = "send an API key as header X-API-Key, or as the password of HTTP Basic"
            return problem(401, detail, headers=CHALLENGE)
        if scope["method"] not in UNSAFE:
            return None
        if is_cross_site(headers):
            return problem(403, "a page of another origin may not send this request")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._max_bytes:
            return problem(413, f"body: must have at most {self._max_bytes} bytes")
        return None

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        given = [headers.get(b"x-api-key", b""), *_basic_password(headers)]
        # All are compared, so that the time tells nothing about which of them is right.
        matches = [hmac.compare_digest(one, key) for one in given for key in self._keys]
        return any(matches)

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, f"body: must have at most {self._max_bytes} bytes")
            return message

        return receive_counting


def is_cross_site(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a browser says that a page of another origin sends the request.

    A browser sends its user's credentials along, and lets any page reach 127.0.0.1. What it says
    itself counts: behind a proxy, the host here may be another than that of its page.
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
