"""The service: scores rows with the champion, logs each answer, takes feedback.

    uvicorn serving.app:app --port 5001

Read on in `serving.web`: `routes` for what it answers, `predicting` for the way of a request,
`champions` for how the champion is loaded and followed, `gate` for what every request passes.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ServingError
from serving.prediction_log import PredictionLog, logging_is_on
from serving.web import openapi, pages, problems, routes
from serving.web.champions import ChampionWatch
from serving.web.gate import Gate
from serving.web.no_log import NoLog
from serving.web.predicting import Predictor
from serving.web.settings import Settings, SettingsError, read_settings

log = logging.getLogger("ml-pipes")

# So long a start waits for the champion, so that the first request already finds it.
CHAMPION_PATIENCE = 30.0
# uvicorn's own: its supervisor does not start such a worker again.
STARTUP_FAILURE = 3


def create_app(settings: Settings) -> FastAPI:
    """Return the service; it opens the log and looks for its champion when it is started."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        prediction_log = await asyncio.to_thread(_open_log)
        champions = ChampionWatch(settings.model_uri, settings.poll_seconds, settings.max_rows)
        await asyncio.to_thread(champions.start, CHAMPION_PATIENCE)
        app.state.log = prediction_log
        app.state.champions = champions
        app.state.predictor = Predictor(champions, prediction_log)
        # What is loaded now stays: looking through it for garbage would hold up requests.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            champions.stop()
            await asyncio.to_thread(prediction_log.close)

    app = FastAPI(title="ml-pipes", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.openapi = lambda: openapi.document(  # type: ignore[method-assign]
        app, app.state.champions.present, keyed=bool(settings.keys)
    )
    app.router.routes.append(routes.short_way)
    app.include_router(routes.router)
    app.include_router(pages.router)
    pages.mount_files(app)
    problems.install(app)
    app.add_middleware(Gate, settings=settings)
    app.add_middleware(OneLineFailure)
    return app


def _open_log() -> PredictionLog:
    return PredictionLog() if logging_is_on() else NoLog()


class OneLineFailure:
    """ASGI middleware that tells a server in one line why the service could not start."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Replace the stack trace of a start that failed."""
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
    if not log.handlers:
        _log_to_stderr()
    try:
        return create_app(read_settings())
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(STARTUP_FAILURE)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


app = _from_environment()
