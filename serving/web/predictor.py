"""Answers to requests: rows are scored, made durable in the log, and counted."""

from collections.abc import Callable

import orjson
from starlette.concurrency import run_in_threadpool

from serving.errors import InputError
from serving.log.null_log import NullLog
from serving.log.protocol import LogProtocol
from serving.model.prediction import ModelIdentity, Prediction, check_identifier, predict_rows
from serving.web import metrics
from serving.web.champions import ChampionWatch
from serving.web.columns import ColumnParser, Rows
from serving.web.csv_body import parse_csv
from serving.web.invocation_body import parse_forms
from serving.web.json_body import parse_json
from serving.web.loading import LoadedChampion
from serving.web.problems import invalid
from serving.web.shadow import Shadow

SOURCE = "ml-pipes service"
IDEMPOTENCY_HEADER = "Idempotency-Key"
REQUEST_ID = "params.request_id"
# Larger bodies and answers are handled in a thread: they would block the event loop.
INLINE_BYTES = 16 * 2**10
INLINE_ROWS = 100

# The rows of a request, and the id that makes its retry safe.
ParsedRequest = tuple[Rows, str | None]
Answer = Callable[[Rows, list[Prediction], ModelIdentity], bytes]


class Predictor:
    """Scores rows with the current champion, and answers once they are in the log."""

    def __init__(
        self, champions: ChampionWatch, log: LogProtocol, shadow: Shadow | None = None
    ) -> None:
        self._champions = champions
        self._shadow = shadow
        self._log = log
        self._logged = not isinstance(log, NullLog)

    async def predict(self, body: bytes, key: str | None) -> bytes:
        """Return the JSON answer to a body of `POST /predict`.

        Raises:
            ServingError: nothing was logged.
        """
        check_idempotency_key(key)

        def parse(columns: ColumnParser) -> ParsedRequest:
            return columns.parse(parse_json(body, columns.most_values)), key

        return await self._respond(parse, len(body), _predict_answer)

    async def predict_one(self, parse_row: Callable[[], dict[str, list[str]]]) -> Prediction:
        """Return the stored prediction for one row of texts.

        Raises:
            ServingError: nothing was logged.
        """
        champion = self._champions.current()
        rows = champion.columns.parse_texts(parse_row())
        scored = _score(champion, rows, None)
        (stored,) = await self._log.record_async(scored, champion.model, SOURCE, None)
        metrics.count_rows([stored], new=self._logged)
        _count_unseen(champion, rows)
        if self._shadow is not None:
            self._shadow.submit(champion, [stored])
        return stored

    async def invocations(self, body: bytes, is_csv: bool, key: str | None) -> bytes:
        """Return the JSON answer to a request of MLflow's scoring protocol.

        Raises:
            ServingError: nothing was logged.
        """
        check_idempotency_key(key)

        def parse(columns: ColumnParser) -> ParsedRequest:
            if is_csv:
                return columns.parse_texts(parse_csv(body, columns.max_rows)), key
            content = parse_json(body, columns.most_values)
            given, request_id = parse_forms(content, columns.names, columns.id_column)
            return columns.parse(given), one_request_id(key, request_id)

        return await self._respond(parse, len(body), _invocations_answer)

    async def _respond(
        self, parse: Callable[[ColumnParser], ParsedRequest], n_bytes: int, answer: Answer
    ) -> bytes:
        champion = self._champions.current()

        def score() -> tuple[Rows, list[Prediction], str | None]:
            rows, request_id = parse(champion.columns)
            return rows, _score(champion, rows, request_id), request_id

        if n_bytes <= INLINE_BYTES:
            rows, scored, request_id = score()
        else:
            rows, scored, request_id = await run_in_threadpool(score)

        if len(scored) <= INLINE_ROWS:
            stored = await self._log.record_async(scored, champion.model, SOURCE, request_id)
            self._count(champion, rows, scored, stored)
            return answer(rows, stored, champion.model)

        def record() -> bytes:
            stored = self._log.record(scored, champion.model, SOURCE, request_id)
            self._count(champion, rows, scored, stored)
            return answer(rows, stored, champion.model)

        return await run_in_threadpool(record)

    def _count(
        self,
        champion: LoadedChampion,
        rows: Rows,
        scored: list[Prediction],
        stored: list[Prediction],
    ) -> None:
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


def _predict_answer(rows: Rows, stored: list[Prediction], model: ModelIdentity) -> bytes:
    predictions = [
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
    return orjson.dumps({"predictions": predictions, "model": version})


def _invocations_answer(_: Rows, stored: list[Prediction], __: ModelIdentity) -> bytes:
    predictions = [
        {"prediction_id": row.prediction_id, "score": row.score, "label": row.label}
        for row in stored
    ]
    return orjson.dumps({"predictions": predictions})
