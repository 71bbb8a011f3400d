"""Requests to write predictions, and the answers to their retries."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from serving.errors import RequestConflictError, ServingError
from serving.model.prediction import ModelIdentity, Prediction, check_identifier

Answer = list[Prediction] | ServingError


@dataclass(slots=True, eq=False)
class WriteRequest:
    """The rows of one request; the writer sets `answer`.

    A request with a `request_id` is keyed: a retry gets the answer of the first attempt.
    """

    rows: list[Prediction]
    model: ModelIdentity
    source: str
    request_id: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    answer: Answer | None = None

    @property
    def key(self) -> tuple[str | None, str | None]:
        """The model's name and the request id, which identify the request."""
        return self.model.name, self.request_id


class FirstAttempt(NamedTuple):
    """A row of the first attempt at a request; `digest` is set if it lacks its features."""

    row: Prediction
    digest: str | None


def checked_request(
    rows: list[Prediction], model: ModelIdentity, source: str, request_id: str | None
) -> WriteRequest:
    """Return a request whose keys can be stored.

    Raises:
        InputError: `request_id` or the entity id of a row cannot be stored.
    """
    if request_id is not None:
        check_identifier("request_id", request_id)
    for row in rows:
        if row.entity_id is not None:
            check_identifier(f"column id, row {row.row_index}", row.entity_id)
    return WriteRequest(rows, model, source, request_id)


def answer_to_retry(request: WriteRequest, first: Sequence[FirstAttempt]) -> Answer:
    """Return the rows of the first attempt, which `request` must repeat, or the error.

    The scores may differ: the champion may have changed since.
    """
    if len(first) == len(request.rows) and all(
        _repeats(request, row, stored) for row, stored in zip(request.rows, first, strict=True)
    ):
        pairs = zip(request.rows, first, strict=True)
        return [replace(stored.row, features=row.features) for row, stored in pairs]
    return RequestConflictError(
        f"request id {request.request_id!r} was used before with other rows: "
        "send new content under a new id"
    )


def _repeats(request: WriteRequest, row: Prediction, stored: FirstAttempt) -> bool:
    if row.entity_id != stored.row.entity_id:
        return False
    if stored.digest is None:
        return row.features == stored.row.features
    return content_digest(request.request_id, row) == stored.digest


def content_digest(request_id: str | None, row: Prediction) -> str:
    """Return a digest of a row's features, for logs that leave the features out."""
    features = orjson.dumps(row.features, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(f"{request_id}\0{row.row_index}\0".encode() + features).hexdigest()
