"""Scoring of answered rows by a challenger, in a thread that never delays or fails an answer.

Answered rows wait in a bounded queue. Those that find it full, that the challenger cannot score, or
whose scores cannot be stored are dropped and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal, NamedTuple

from serving.errors import InputError, one_line
from serving.log.shadow_predictions import ShadowLog, ShadowPrediction
from serving.model.features import Feature
from serving.model.prediction import Prediction
from serving.web import metrics
from serving.web.challengers import ChallengerWatch
from serving.web.loading import LoadedChampion

logger = logging.getLogger("ml-pipes")

MAX_WAITING_ROWS = 20_000
# Rows are collected for this long: fewer transactions and fewer turns of Python's lock disturb
# requests.
LINGER_SECONDS = 0.25
# Rows scored in one call, so that Python's lock is not held for long.
SCORED_ROWS = 64
# Rows stored in one transaction, for which the log's writer may have to wait.
STORED_ROWS = 1_024
# A service that is stopped scores waiting rows for this long.
DRAIN_SECONDS = 3.0

# Why a row is dropped: values of the label `reason` of mlpipes_shadow_rows_dropped_total.
Reason = Literal[
    "queue_full", "withdrawn", "refused", "invalid", "not_scored", "not_stored", "closing"
]


class _Answered(NamedTuple):
    """An answered row, and the champion that scored it."""

    champion: LoadedChampion
    row: Prediction


class Shadow:
    """Scores the rows of answered requests with the current challenger, and stores the scores."""

    def __init__(self, challengers: ChallengerWatch, log: ShadowLog) -> None:
        self._challengers = challengers
        self._log = log
        self._waiting: deque[_Answered] = deque()
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._failing_uri: str | None = None  # the challenger whose last attempt failed
        self._log_error: str | None = None
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the threads, without waiting for the challenger to be loaded."""
        self._challengers.start(timeout=0)
        self._thread.start()

    @property
    def challenger(self) -> LoadedChampion | None:
        """The current challenger, if there is one."""
        return self._challengers.loaded

    def trouble(self, champion: LoadedChampion) -> str | None:
        """Return the reason why the rows of `champion` are not scored, None if they are."""
        challenger, served = self.challenger, champion.model.name
        if challenger is None:
            if served is not None and self._challengers.model_name != served:
                return _of_another_model(self._challengers.uri, served)
            return self._challengers.last_error
        uri = challenger.source.uri
        if uri == champion.source.uri:
            return f"{uri} is the champion itself: there is nothing to compare"
        failure = f"{uri} cannot score; see the log of the service"
        return (
            reason_against(challenger, champion)
            or self._challengers.last_error
            or (failure if uri == self._failing_uri else None)
            or self._log_error
        )

    def submit(self, champion: LoadedChampion, rows: Sequence[Prediction]) -> None:
        """Queue the rows of an answered request, or drop and count them; never wait."""
        if self._challengers.loaded is None:
            return
        waiting = self._waiting
        if self._closing.is_set():
            _drop(len(rows), "closing")
        elif waiting and len(waiting) + len(rows) > MAX_WAITING_ROWS:
            _drop(len(rows), "queue_full")
        else:
            waiting.extend([_Answered(champion, row) for row in rows])
            if not self._filled.is_set():
                self._filled.set()

    def close(self) -> None:
        """Score waiting rows for a bounded time, and drop the rest."""
        self._deadline = time.monotonic() + DRAIN_SECONDS
        self._closing.set()
        self._filled.set()
        self._thread.join(DRAIN_SECONDS + 1)  # a transaction may hang
        self._challengers.stop()
        if left := len(self._waiting):
            _drop(left, "closing")
            logger.warning(
                "shadow: %s waiting rows were dropped because the service stops", f"{left:,}"
            )
        if not self._thread.is_alive():
            self._log.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(LINGER_SECONDS)
            self._filled.clear()
            self._process_waiting()
        self._process_waiting()

    def _process_waiting(self) -> None:
        while self._waiting and time.monotonic() < self._deadline:
            self._process(self._take())

    def _take(self) -> list[_Answered]:
        count = min(len(self._waiting), STORED_ROWS)
        return [self._waiting.popleft() for _ in range(count)]

    def _process(self, answered: list[_Answered]) -> None:
        for _, group in groupby(answered, lambda item: id(item.champion)):
            items = list(group)
            self._process_rows(items[0].champion, [item.row for item in items])

    def _process_rows(self, champion: LoadedChampion, rows: list[Prediction]) -> None:
        """Score and store the rows that one champion has answered."""
        challenger = self.challenger
        if challenger is None:
            _drop(len(rows), "withdrawn")
            return
        if challenger.source.uri == champion.source.uri:
            return
        refusal = reason_against(challenger, champion)
        self._report_refusal(refusal)
        if refusal:
            _drop(len(rows), "refused")
            return
        portions = (rows[start : start + SCORED_ROWS] for start in range(0, len(rows), SCORED_ROWS))
        self._store([row for portion in portions for row in self._score(challenger, portion)])

    def _score(self, challenger: LoadedChampion, rows: list[Prediction]) -> list[ShadowPrediction]:
        """Return the scores of those rows that the challenger accepts."""
        try:
            scored = _shadow_predictions(challenger, rows)
        except InputError:
            if len(rows) > 1:
                return [scored for row in rows for scored in self._score(challenger, [row])]
            _drop(len(rows), "invalid")
            return []
        except Exception as error:  # a runtime may raise anything
            _drop(len(rows), "not_scored")
            uri = challenger.source.uri
            if uri != self._failing_uri:
                logger.warning("shadow: %s cannot score: %s", uri, one_line(error))
            self._failing_uri = uri
            return []
        self._failing_uri = None
        return scored

    def _store(self, rows: list[ShadowPrediction]) -> None:
        if not rows:
            return
        try:
            self._log.write(rows)
        except Exception as error:  # of a database or its driver
            _drop(len(rows), "not_stored")
            if self._log_error is None:
                logger.warning("shadow: scores cannot be stored: %s", one_line(error))
            self._log_error = "the scores of the challenger cannot be stored"
        else:
            metrics.SHADOW_ROWS.inc(len(rows))
            self._log_error = None

    def _report_refusal(self, refusal: str | None) -> None:
        if refusal and refusal != self._refusal:
            logger.warning("shadow: %s", refusal)
        self._refusal = refusal


def reason_against(challenger: LoadedChampion, champion: LoadedChampion) -> str | None:
    """Return the reason why `challenger` cannot score the rows of `champion`, None if it can."""
    served, uri = champion.model.name, challenger.source.uri
    if served is not None and challenger.model.name != served:
        return _of_another_model(uri, served)
    needed, given = _by_name(challenger), _by_name(champion)
    differing = sorted(
        name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name)
    )
    if not differing:
        return None
    others = f" and {len(differing) - 1} others" if len(differing) > 1 else ""
    return f"{uri} is refused: its features differ from the champion's: {differing[0]}{others}"


def _of_another_model(uri: str, served: str) -> str:
    return f"{uri} is refused: it is not a version of the served model, {served}"


def _by_name(model: LoadedChampion) -> dict[str, tuple[object, ...]]:
    return {feature.name: _form(feature) for feature in model.scorer.manifest.features}


def _form(feature: Feature) -> tuple[object, ...]:
    """Return what determines how values are parsed; levels of categories and nulls may differ."""
    words = feature.levels if feature.kind == "boolean" else ()
    return feature.kind, words, feature.format, feature.has_time, feature.text


def _shadow_predictions(
    challenger: LoadedChampion, rows: list[Prediction]
) -> list[ShadowPrediction]:
    """Return the challenger's predictions for `rows`.

    Raises:
        InputError: a row has a value that the challenger does not accept, such as a null.
    """
    scorer, version = challenger.scorer, challenger.model.version
    columns = [[row.features[name] for row in rows] for name in scorer.names]
    scores = scorer.score_rows(scorer.schema.parse_columns(columns)).tolist()
    threshold, now = scorer.manifest.threshold, datetime.now(UTC)
    return [
        ShadowPrediction(row.prediction_id, str(version), score, int(score >= threshold), now)
        for row, score in zip(rows, scores, strict=True)
    ]


def _drop(count: int, reason: Reason) -> None:
    metrics.SHADOW_DROPPED.labels(reason).inc(count)
