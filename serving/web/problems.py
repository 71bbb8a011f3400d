"""Errors as RFC 9457 problem details: what is wrong, where, and by which rule."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.errors import (
    InputError,
    LogUnavailableError,
    NoChampionError,
    RequestConflictError,
    ServingError,
)

log = logging.getLogger("ml-pipes")

MEDIA_TYPE = "application/problem+json"
MOST_VIOLATIONS = 20
RETRY_AFTER = {"Retry-After": "1"}


@dataclass(frozen=True)
class Violation:
    """A rule that a field breaks; `row` counts from 0, None where it is not about one row."""

    field: str
    rule: str
    row: int | None = None

    def __str__(self) -> str:
        where = self.field if self.row is None else f"{self.field}, row {self.row}"
        return f"{where}: {self.rule}"


class InvalidRequestError(InputError):
    """A request that breaks rules; nothing was done."""

    def __init__(self, violations: Sequence[Violation], status: int = 422) -> None:
        super().__init__("; ".join(map(str, violations[:MOST_VIOLATIONS])))
        self.violations = violations[:MOST_VIOLATIONS]
        self.status = status


def invalid(field: str, rule: str, row: int | None = None, status: int = 422) -> Exception:
    """Return the error for one broken rule."""
    return InvalidRequestError([Violation(field, rule, row)], status)


def problem(
    status: int,
    detail: str,
    violations: Sequence[Violation] = (),
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return an error as `application/problem+json`."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if violations:
        content["errors"] = [asdict(violation) for violation in violations]
    return Response(orjson.dumps(content | members), status, headers, MEDIA_TYPE)


def of_serving_error(error: ServingError) -> Response:
    """Return the problem that tells whose fault `error` is."""
    if isinstance(error, InvalidRequestError):
        return problem(error.status, str(error), error.violations)
    if isinstance(error, InputError):
        return problem(422, str(error))
    if isinstance(error, RequestConflictError):
        return problem(409, str(error))
    if isinstance(error, LogUnavailableError | NoChampionError):
        return problem(503, str(error), headers=RETRY_AFTER)
    log.error("a request failed: %s", error)
    return problem(500, "the service failed; its log says why")


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""

    async def serving_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, ServingError)
        return of_serving_error(error)

    async def http_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))

    async def validation_error(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return of_serving_error(InvalidRequestError(violations_of(error.errors())))

    async def unexpected(_: Request, __: Exception) -> Response:
        return problem(500, "the service failed; its log says why")

    app.add_exception_handler(ServingError, serving_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(Exception, unexpected)


def violations_of(errors: Sequence[Any]) -> list[Violation]:
    """Return pydantic's errors as broken rules."""
    return [
        Violation(_path(error["loc"]), error["msg"][:1].lower() + error["msg"][1:])
        for error in errors
    ]


def _path(location: Sequence[str | int]) -> str:
    """Return `labels[3].label` for ("labels", 3, "label")."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).removeprefix(".") or "body"
