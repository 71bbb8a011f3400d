"""Scoring of answered rows by a challenger, in a thread that never delays or fails an answer.

Rows wait in a bounded queue. Those that find it full, that the challenger cannot score, or whose
scores cannot be stored are dropped and counted.
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

MOST_WAITING_ROWS = 20_000
# Rows gather for so long: few transactions, and few turns of Python's lock, disturb requests.
LINGER_SECONDS = 0.25
# Rows scored at once: Python's lock is not held for long.
SCORED_ROWS = 64
# Rows stored at once: each transaction may make the log's writer wait.
STORED_ROWS = 1_024
# A service that ends scores waiting rows for so long.
DRAIN_SECONDS = 3.0

Reason = Literal["queue_full", "withdrawn", "refused", "invalid", "not_stored", "closing"]


class _Answered(NamedTuple):
    """A row that a champion has answered."""

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
        self._log_error: str | None = None
        self._refusal: str | None = None
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the threads; the challenger is loaded while the service answers."""
        self._challengers.start(timeout=0)
        self._thread.start()

    @property
    def challenger(self) -> LoadedChampion | None:
        """The current challenger, if there is one."""
        return self._challengers.loaded

    def trouble(self, champion: LoadedChampion) -> str | None:
        """Return the reason why the rows of `champion` are not scored, None if they are."""
        challenger = self.challenger
        if challenger is not None and challenger.source.uri == champion.source.uri:
            return f"{challenger.source.uri} is the champion itself: there is nothing to compare"
        if challenger is not None and (refusal := reason_against(challenger, champion)):
            return refusal
        return self._challengers.last_error or self._log_error

    def submit(self, champion: LoadedChampion, rows: Sequence[Prediction]) -> None:
        """Queue the rows of an answered request, or drop and count them; never wait."""
        if self._challengers.loaded is None:
            return
        waiting = self._waiting
        if self._closing.is_set():
            _drop(len(rows), "closing")
        elif waiting and len(waiting) + len(rows) > MOST_WAITING_ROWS:
            _drop(len(rows), "queue_full")
        else:
            waiting.extend([_Answered(champion, row) for row in rows])
            if not self._filled.is_set():
                self._filled.set()

    def close(self) -> None:
        """Score what waits for a bounded time, and drop the rest."""
        self._deadline = time.monotonic() + DRAIN_SECONDS
        self._closing.set()
        self._filled.set()
        self._thread.join(DRAIN_SECONDS + 1)  # a transaction may hang
        self._challengers.stop()
        if left := len(self._waiting):
            _drop(left, "closing")
            logger.warning("shadow: %s waiting rows were dropped at the end", f"{left:,}")
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
        challenger = self.challenger
        for _, group in groupby(answered, lambda item: id(item.champion)):
            items = list(group)
            champion = items[0].champion
            if challenger is None:
                _drop(len(items), "withdrawn")
                continue
            if challenger.source.uri == champion.source.uri:
                continue
            refusal = reason_against(challenger, champion)
            self._report_refusal(refusal)
            if refusal:
                _drop(len(items), "refused")
            else:
                rows = [item.row for item in items]
                self._store(
                    [
                        scored
                        for start in range(0, len(rows), SCORED_ROWS)
                        for scored in self._score(challenger, rows[start : start + SCORED_ROWS])
                    ]
                )

    def _score(self, challenger: LoadedChampion, rows: list[Prediction]) -> list[ShadowPrediction]:
        """Return the scores of those rows that the challenger accepts."""
        try:
            return _score(challenger, rows)
        except InputError:
            if len(rows) > 1:
                return [scored for row in rows for scored in self._score(challenger, [row])]
        except Exception as error:  # a runtime may raise anything
            logger.warning("shadow: %s cannot score: %s", challenger.source.uri, one_line(error))
        _drop(len(rows), "invalid")
        return []

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
    ours, theirs = challenger.model, champion.model
    uri = challenger.source.uri
    if theirs.name is not None and ours.name != theirs.name:
        return f"{uri} is refused: it is no version of the served model, {theirs.name}"
    needed, given = _by_name(challenger), _by_name(champion)
    differing = sorted(
        name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name)
    )
    if not differing:
        return None
    others = f" and {len(differing) - 1} others" if len(differing) > 1 else ""
    return f"{uri} is refused: its features differ from the champion's: {differing[0]}{others}"


def _by_name(model: LoadedChampion) -> dict[str, tuple[object, ...]]:
    return {feature.name: _form(feature) for feature in model.scorer.manifest.features}


def _form(feature: Feature) -> tuple[object, ...]:
    """Return what decides how values are read; levels of categories and nulls may differ."""
    words = feature.levels if feature.kind == "boolean" else ()
    return feature.kind, words, feature.format, feature.has_time, feature.text


def _score(challenger: LoadedChampion, rows: list[Prediction]) -> list[ShadowPrediction]:
    """Return the challenger's predictions.

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
