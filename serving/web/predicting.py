"""From a request to an answer: its rows scored, durable in the log, counted."""

from collections.abc import Mapping
from typing import Any

import orjson
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import InvocationsResponse, invocations
from starlette.concurrency import run_in_threadpool

from serving.errors import InputError
from serving.invocation import invoke
from serving.prediction import ModelIdentity, Prediction, check_key, predict_rows
from serving.prediction_log import PredictionLog
from serving.web import metrics
from serving.web.champions import ChampionWatch, LoadedChampion
from serving.web.columns import Key, Rows, parse_object
from serving.web.no_log import NoLog
from serving.web.problems import invalid

SOURCE = "ml-pipes service"
KEY_HEADER = "Idempotency-Key"
# Reading and scoring a larger body would hold up the event loop: a thread does it.
SMALL_BODY = 16 * 2**10
MANY_ROWS = 100


class Predictor:
    """Answers with the champion of the moment, once the rows are in the log."""

    def __init__(self, champions: ChampionWatch, log: PredictionLog) -> None:
        self._champions = champions
        self._log = log
        self._logged = not isinstance(log, NoLog)

    async def predict(self, body: bytes, key: str | None) -> bytes:
        """Return the answer to a body of `POST /predict` as JSON.

        Raises:
            ServingError: nothing was logged, nothing is answered.
        """
        check_idempotency_key(key)
        champion = self._champions.current()
        if len(body) <= SMALL_BODY:
            rows, scored = _read_and_score(champion, body, key)
        else:
            rows, scored = await run_in_threadpool(_read_and_score, champion, body, key)
        stored = await self._record_async(scored, champion.model, key)
        if len(stored) <= MANY_ROWS:
            return _answer(rows.keys, stored, champion.model)
        return await run_in_threadpool(_answer, rows.keys, stored, champion.model)

    async def predict_one(self, content: Mapping[str, Any]) -> Prediction:
        """Return the stored prediction for one row of single values.

        Raises:
            ServingError: nothing was logged, nothing is answered.
        """
        champion = self._champions.current()
        _, scored = _score(champion, dict(content), None)
        (stored,) = await self._record_async(scored, champion.model, None)
        return stored

    async def invocations(self, body: bytes, content_type: str) -> InvocationsResponse:
        """Answer as MLflow's scoring server does.

        Raises:
            ServingError, MlflowException: nothing was logged, nothing is answered.
        """
        champion = self._champions.current()

        def record(rows: list[Prediction], key: str | None) -> list[Prediction]:
            stored = self._log.record(rows, champion.model, SOURCE, key)
            self._count(rows, stored)
            return stored

        class Recording:
            """What MLflow's code calls with the rows that it has read and checked."""

            @staticmethod
            def predict(frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
                try:
                    champion.columns.check_length(len(frame))
                except InputError as error:
                    raise MlflowException.invalid_parameter_value(str(error)) from None
                return invoke(champion.scorer, champion.model, frame, params, record)

        return await run_in_threadpool(
            invocations,
            body,
            content_type,
            PyFuncModel(champion.metadata, Recording),
            champion.metadata.get_input_schema(),
        )

    async def _record_async(
        self, rows: list[Prediction], model: ModelIdentity, key: str | None
    ) -> list[Prediction]:
        stored = await self._log.record_async(rows, model, SOURCE, key)
        self._count(rows, stored)
        return stored

    def _count(self, rows: list[Prediction], stored: list[Prediction]) -> None:
        # A retry gets other rows than it brought: those of its first attempt, counted then.
        metrics.count_rows(stored, new=self._logged and stored is rows)


def check_idempotency_key(key: str | None) -> None:
    """Check the header that makes a retry safe.

    Raises:
        InvalidRequestError: it cannot be a key.
    """
    if key is None:
        return
    if not (key and key.isascii() and key.isprintable()):
        raise invalid(KEY_HEADER, "must be 1 to 255 printable ASCII characters")
    try:
        check_key(KEY_HEADER, key)
    except InputError as error:
        raise invalid(KEY_HEADER, str(error).removeprefix(f"{KEY_HEADER}: ")) from None


def _read_and_score(
    champion: LoadedChampion, body: bytes, key: str | None
) -> tuple[Rows, list[Prediction]]:
    return _score(champion, parse_object(body), key)


def _score(
    champion: LoadedChampion, content: dict[str, Any], key: str | None
) -> tuple[Rows, list[Prediction]]:
    rows = champion.columns.read(content)
    return rows, predict_rows(champion.scorer, champion.model, rows.matrix, rows.entity_ids, key)


def _answer(keys: list[Key], stored: list[Prediction], model: ModelIdentity) -> bytes:
    predictions = [
        {
            "prediction_id": row.prediction_id,
            "id": key,
            "score": row.score,
            "label": row.label,
        }
        for key, row in zip(keys, stored, strict=True)
    ]
    # A retry names the version that answered the first attempt.
    version = {"name": model.name, "version": stored[0].model_version}
    return orjson.dumps({"predictions": predictions, "model": version})
