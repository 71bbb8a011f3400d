"""Answers to requests: rows are scored, made durable in the log, and counted."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.concurrency import run_in_threadpool

from serving.errors import InputError
from serving.log.null_log import NullLog
from serving.log.protocol import LogProtocol
from serving.model.explanations import Explanation
from serving.model.prediction import (
    ModelIdentity,
    Prediction,
    check_identifier,
    predict_rows,
    scored_rows,
)
from serving.web import metrics
from serving.web.champions import ChampionWatch
from serving.web.columns import ColumnParser, Rows
from serving.web.csv_body import parse_csv
from serving.web.explaining import ExplanationQueue, asks_to_explain, reason_to_omit
from serving.web.invocation_body import parse_forms
from serving.web.json_body import parse_json
from serving.web.loading import LoadedChampion
from serving.web.problems import invalid
from serving.web.scoring_queue import ScoringQueue
from serving.web.shadow import Shadow

SOURCE = "ml-pipes service"
IDEMPOTENCY_HEADER = "Idempotency-Key"
REQUEST_ID = "params.request_id"
# Larger bodies and answers are handled in a thread: they would block the event loop.
INLINE_BYTES = 16 * 2**10
INLINE_ROWS = 100


class ParsedRequest(NamedTuple):
    """The rows of a request, the id that makes its retry safe, and whether to explain the rows."""

    rows: Rows
    request_id: str | None
    explain: bool = False


class Explained(NamedTuple):
    """The explanations of stored rows, or the reason why there are none."""

    explanations: Sequence[Explanation]
    omitted: str | None


Answer = Callable[[Rows, list[Prediction], ModelIdentity, Explained | None], bytes]


class Predictor:
    """Scores rows with the current champion, and answers once they are in the log."""

    def __init__(
        self, champions: ChampionWatch, log: LogProtocol, shadow: Shadow | None = None
    ) -> None:
        self._champions = champions
        self._shadow = shadow
        self._log = log
        self._logged = not isinstance(log, NullLog)
        self._queue = ScoringQueue()
        self._explanations = ExplanationQueue()

    async def predict(self, body: bytes, key: str | None) -> bytes:
        """Return the JSON answer to a body of `POST /predict`.

        Raises:
            ServingError: nothing was logged.
        """
        check_idempotency_key(key)

        def parse(columns: ColumnParser) -> ParsedRequest:
            content = parse_json(body, columns.max_values)
            explain = asks_to_explain(content, columns.names, columns.id_column)
            return ParsedRequest(columns.parse(content), key, explain)

        return await self._respond(parse, len(body), _predict_answer)

    async def predict_one(
        self, parse_row: Callable[[], dict[str, list[str]]]
    ) -> tuple[Prediction, Explanation | None]:
        """Return the stored prediction for one row of texts, explained if the champion can.

        Raises:
            ServingError: nothing was logged.
        """
        champion = self._champions.current()
        rows = champion.columns.parse_texts(parse_row())
        scored = _score(champion, rows, None)
        explanation = None
        if champion.explainer is not None:
            (explanation,) = await self._explanations.explain(champion, rows, scored)
        stored = await self._log.record_async(scored, champion.model, SOURCE, None)
        self._count_and_submit(champion, rows, scored, stored)
        return stored[0], explanation

    async def invocations(self, body: bytes, is_csv: bool, key: str | None) -> bytes:
        """Return the JSON answer to a request of MLflow's scoring protocol.

        Raises:
            ServingError: nothing was logged.
        """
        check_idempotency_key(key)

        def parse(columns: ColumnParser) -> ParsedRequest:
            if is_csv:
                return ParsedRequest(columns.parse_texts(parse_csv(body, columns.max_rows)), key)
            content = parse_json(body, columns.max_values)
            given, request_id = parse_forms(content, columns.names, columns.id_column)
            return ParsedRequest(columns.parse(given), one_request_id(key, request_id))

        return await self._respond(parse, len(body), _invocations_answer)

    async def _respond(
        self, parse: Callable[[ColumnParser], ParsedRequest], n_bytes: int, answer: Answer
    ) -> bytes:
        champion = self._champions.current()
        if n_bytes <= INLINE_BYTES:
            rows, request_id, explain = parse(champion.columns)
            scores = await self._queue.score(champion.scorer, rows.features)
            threshold = champion.scorer.manifest.threshold
            scored = scored_rows(
                threshold, champion.model, rows.features, scores, rows.entity_ids, request_id
            )
        else:

            def parse_and_score() -> tuple[ParsedRequest, list[Prediction]]:
                parsed = parse(champion.columns)
                return parsed, _score(champion, parsed.rows, parsed.request_id)

            (rows, request_id, explain), scored = await run_in_threadpool(parse_and_score)
        explanations: Sequence[Explanation] = ()
        if explain:
            explanations = await self._explanations.explain(champion, rows, scored)

        def respond(stored: list[Prediction]) -> bytes:
            self._count_and_submit(champion, rows, scored, stored)
            explained = None
            if explain:
                explained = Explained(explanations, reason_to_omit(stored, scored))
            return answer(rows, stored, champion.model, explained)

        if len(scored) <= INLINE_ROWS:
            stored = await self._log.record_async(scored, champion.model, SOURCE, request_id)
            return respond(stored)

        def record() -> bytes:
            return respond(self._log.record(scored, champion.model, SOURCE, request_id))

        return await run_in_threadpool(record)

    def _count_and_submit(
        self,
        champion: LoadedChampion,
        rows: Rows,
        scored: list[Prediction],
        stored: list[Prediction],
    ) -> None:
        """Count the rows of an answer, and submit new ones to the shadow."""
        # A retry gets the rows of its first attempt, which have been counted already.
        is_new = stored is scored
        metrics.count_rows(stored, new=self._logged and is_new)
        if is_new:
            _count_unseen(champion, rows)
            if self._shadow is not None:
                self._shadow.submit(champion, stored)


def check_idempotency_key(key: str | None) -> None:
    """Check the header `Idempotency-Key`.

    Raises:
        InvalidRequestError: it is empty, too long, or not printable ASCII.
    """
    if key is None:
        return
    if not (key and key.isascii() and key.isprintable()):
        raise invalid(IDEMPOTENCY_HEADER, "must be 1 to 255 printable ASCII characters")
    try:
        check_identifier(IDEMPOTENCY_HEADER, key)
    except InputError as error:
        rule = str(error).removeprefix(f"{IDEMPOTENCY_HEADER}: ")
        raise invalid(IDEMPOTENCY_HEADER, rule) from None


def one_request_id(key: str | None, request_id: str | None) -> str | None:
    """Return the id of a request from the header `Idempotency-Key` or from MLflow's parameter.

    Raises:
        InvalidRequestError: they differ, or the parameter cannot be stored.
    """
    if request_id is None:
        return key
    if key is not None and key != request_id:
        rule = f"must equal the header {IDEMPOTENCY_HEADER} if both are sent"
        raise invalid(REQUEST_ID, rule)
    try:
        check_identifier(REQUEST_ID, request_id)
    except InputError as error:
        raise invalid(REQUEST_ID, str(error).removeprefix(f"{REQUEST_ID}: ")) from None
    return request_id


def _score(champion: LoadedChampion, rows: Rows, request_id: str | None) -> list[Prediction]:
    return predict_rows(champion.scorer, champion.model, rows.features, rows.entity_ids, request_id)


def _count_unseen(champion: LoadedChampion, rows: Rows) -> None:
    if rows.features.categories:
        metrics.count_unseen(champion.scorer.preparation.count_unseen(rows.features))


def _predict_answer(
    rows: Rows, stored: list[Prediction], model: ModelIdentity, explained: Explained | None
) -> bytes:
    predictions: list[dict[str, Any]] = [
        {
            "prediction_id": row.prediction_id,
            "id": sent_id,
            "score": row.score,
            "label": row.label,
        }
        for sent_id, row in zip(rows.sent_ids, stored, strict=True)
    ]
    # A retry names the version that answered the first attempt.
    version = {"name": model.name, "version": stored[0].model_version}
    answer: dict[str, Any] = {"predictions": predictions, "model": version}
    if explained is not None and explained.omitted:
        answer["explanations"] = explained.omitted
    elif explained is not None:
        for prediction, explanation in zip(predictions, explained.explanations, strict=True):
            prediction["base"] = explanation.base
            prediction["contributions"] = explanation.contributions
    return orjson.dumps(answer)


def _invocations_answer(
    _: Rows, stored: list[Prediction], __: ModelIdentity, ___: Explained | None
) -> bytes:
    predictions = [
        {"prediction_id": row.prediction_id, "score": row.score, "label": row.label}
        for row in stored
    ]
    return orjson.dumps({"predictions": predictions})
