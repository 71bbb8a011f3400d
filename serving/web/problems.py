"""Errors as RFC 9457 problem details, with each invalid field and its rule."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serving.errors import (
    InputError,
    InvalidFieldsError,
    LogUnavailableError,
    NoChampionError,
    RequestConflictError,
    ServingError,
    Violation,
    field_path,
)

logger = logging.getLogger("ml-pipes")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "1"}
FAILED = "the service failed: see its log"


class InvalidRequestError(InvalidFieldsError):
    """Invalid fields of a request, with the HTTP status of the answer."""

    def __init__(self, violations: Sequence[Violation], status: int = 422) -> None:
        super().__init__(violations)
        self.status = status


def invalid(field: str, rule: str, row: int | None = None, status: int = 422) -> Exception:
    """Return the error for one invalid field."""
    return InvalidRequestError([Violation(field, rule, row)], status)


def problem_response(
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


def status_of(error: ServingError) -> int:
    """Return the HTTP status of `error`."""
    if isinstance(error, InvalidRequestError):
        return error.status
    if isinstance(error, InputError):
        return 422
    if isinstance(error, RequestConflictError):
        return 409
    return 503 if isinstance(error, LogUnavailableError | NoChampionError) else 500


def error_response(error: ServingError, status: int | None = None, **members: Any) -> Response:
    """Return `error` as a problem with more `members`, by default with the status of its kind."""
    status = status or status_of(error)
    if status == 500:
        logger.error("request failed: %s", error)
        return problem_response(status, FAILED, **members)
    violations = error.violations if isinstance(error, InvalidFieldsError) else ()
    headers = RETRY_AFTER if status == 503 else None
    return problem_response(status, error.for_callers, violations, headers, **members)


def response_to(error: Exception) -> Response:
    """Return the problem for any error."""
    if isinstance(error, ServingError):
        return error_response(error)
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return problem_response(error.status_code, str(error.detail), headers=headers)
    if isinstance(error, RequestValidationError):
        return error_response(InvalidRequestError(violations_of(error.errors())))
    return problem_response(500, FAILED)


def install_handlers(app: FastAPI) -> None:
    """Install the handlers that turn every error of `app` into a problem."""

    async def handle(_: Request, error: Exception) -> Response:
        return response_to(error)

    for kind in (ServingError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, handle)


# Rules in the words of this service, by the type of pydantic's error.
RULES = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def violations_of(errors: Sequence[Any]) -> list[Violation]:
    """Return pydantic's errors as violations."""
    return [Violation(field_path(error["loc"]) or "body", _rule(error)) for error in errors]


def _rule(error: Any) -> str:
    rule: str = RULES.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return rule[:1].lower() + rule[1:]
