"""FastAPI service: scores rows with the champion, logs each prediction, and takes feedback.

    uvicorn serving.app:app --port 5001

`serving.web` holds its parts: `routes`, `predictor` (from a request to an answer), `champions`
(following the registry), `loading` (of a champion), `shadow` (scoring by a challenger), and
`security` (checks on every request).
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette._utils import get_route_path
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from serving.errors import ServingError, SettingsError
from serving.log.null_log import NullLog
from serving.log.prediction_log import PredictionLog
from serving.log.protocol import LogProtocol
from serving.log.shadow_predictions import ShadowLog
from serving.secrets import MaskingFormatter
from serving.settings import ServiceSettings, read_log_settings, read_service_settings
from serving.web import openapi, problems
from serving.web.challengers import ChallengerWatch
from serving.web.champions import ChampionWatch, keep_present_objects
from serving.web.open_access import OpenAccess
from serving.web.predictor import Predictor
from serving.web.routes import operations, pages, prediction_log, scoring
from serving.web.security import SecurityMiddleware
from serving.web.shadow import Shadow

logger = logging.getLogger("ml-pipes")

# Seconds that a start waits for the champion: the first request should find it loaded.
CHAMPION_TIMEOUT = 30.0
# Threads that read the log for pages at the same time.
LOG_READERS = 4
# uvicorn's code: its supervisor does not restart such a worker.
STARTUP_FAILURE = 3


def create_app(settings: ServiceSettings) -> FastAPI:
    """Return the service; on startup, it opens the log and loads the champion."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log = await asyncio.to_thread(_open_log)
        champions = ChampionWatch(settings.model_uri, settings.poll_seconds, settings.max_rows)
        await asyncio.to_thread(champions.start, CHAMPION_TIMEOUT)
        if not settings.keys:
            logger.warning(OpenAccess(settings.host_names).describe())
        app.state.log = log
        app.state.log_readers = CapacityLimiter(LOG_READERS)
        app.state.champions = champions
        app.state.shadow = shadow = await asyncio.to_thread(_open_shadow, settings, log)
        app.state.predictor = Predictor(champions, log, shadow)
        keep_present_objects()
        try:
            yield
        finally:
            champions.stop()
            if shadow is not None:
                await asyncio.to_thread(shadow.close)
            await asyncio.to_thread(log.close)

    app = Service(settings, lifespan)
    app.openapi = lambda: openapi.document(  # type: ignore[method-assign]
        app, app.state.champions.loaded, keyed=bool(settings.keys)
    )
    for part in (scoring, prediction_log, operations, pages):
        app.include_router(part.router)
    pages.mount_files(app)
    problems.install_handlers(app)
    app.add_middleware(SecurityMiddleware, settings=settings)
    app.add_middleware(StartupErrorMiddleware)
    return app


class Service(FastAPI):
    """The application: `POST /predict` passes the security checks, but not FastAPI's layers."""

    def __init__(self, settings: ServiceSettings, lifespan: Lifespan[FastAPI]) -> None:
        super().__init__(title="ml-pipes", lifespan=lifespan, docs_url=None, redoc_url=None)
        self._predict = SecurityMiddleware(scoring.direct_predict.app, settings)

    def build_middleware_stack(self) -> ASGIApp:
        """Return FastAPI's layers, with a way past them for `POST /predict`."""
        layers = super().build_middleware_stack()

        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            is_post = scope["type"] == "http" and scope["method"] == "POST"
            direct = is_post and get_route_path(scope) == scoring.direct_predict.path
            await (self._predict if direct else layers)(scope, receive, send)

        return choose


def _open_log() -> LogProtocol:
    return PredictionLog() if read_log_settings().enabled else NullLog()


def _open_shadow(settings: ServiceSettings, log: LogProtocol) -> Shadow | None:
    """Return the shadow, started, if one is configured and there is a log for its scores."""
    if not settings.shadow:
        return None
    if isinstance(log, NullLog):
        logger.warning("MLPIPES_SHADOW: ignored, because PREDICTION_LOG=off")
        return None
    challengers = ChallengerWatch(settings.shadow, settings.poll_seconds, settings.max_rows)
    shadow = Shadow(challengers, ShadowLog(read_log_settings().uri))
    shadow.start()
    return shadow


class StartupErrorMiddleware:
    """ASGI middleware that reports a failed startup in one line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace the stack trace of a failed startup with its message."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        failed: list[Message] = []

        async def send_unless_failed(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, send_unless_failed)
        except ServingError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except BaseException:
            for message in failed:
                await send(message)
            raise


def _from_environment() -> FastAPI:
    if not logger.handlers:
        _log_to_stderr()
    try:
        return create_app(read_service_settings())
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(STARTUP_FAILURE)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


app = _from_environment()
