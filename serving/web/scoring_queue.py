"""Scores of small requests: those that wait at the same time share a call of the model."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from serving.model.features import FeatureRows, Floats
from serving.model.scorer import PortableScorer

# Requests share a call up to so many rows, for a few milliseconds; then other events are handled.
ROWS_PER_CALL = 100


class _Waiting(NamedTuple):
    """A request, prepared for the model, and the future of its scores."""

    scorer: PortableScorer
    matrix: Floats
    scores: asyncio.Future[Floats]


class ScoringQueue:
    """Scores the small requests of one event loop.

    A call of a model takes longer than its work on a few rows, so that waiting requests share it.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()

    async def score(self, scorer: PortableScorer, rows: FeatureRows) -> Floats:
        """Return the scores of valid rows, shape (n_rows,).

        Raises:
            ScorerError: the model cannot score these rows.
        """
        matrix = scorer.matrix(rows)
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # Called when the handlers that the loop has ready, of other requests, have run.
            loop.call_soon(self._score_next, loop)
        scores: asyncio.Future[Floats] = loop.create_future()
        self._waiting.append(_Waiting(scorer, matrix, scores))
        return await scores

    def _score_next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Score the first requests that wait for the same model."""
        requests = [self._waiting.popleft()]
        rows = len(requests[0].matrix)
        while self._waiting and self._waiting[0].scorer is requests[0].scorer:
            rows += len(self._waiting[0].matrix)
            if rows > ROWS_PER_CALL:
                break
            requests.append(self._waiting.popleft())
        if self._waiting:
            loop.call_soon(self._score_next, loop)
        _set_scores([request for request in requests if not request.scores.cancelled()])


def _set_scores(requests: Sequence[_Waiting]) -> None:
    """Set the scores of requests for one model, or the error of each."""
    if not requests:
        return
    try:
        matrix = np.concatenate([request.matrix for request in requests])
        scores = requests[0].scorer.score_matrix(matrix)
    except Exception as error:
        failure = error
    else:
        start = 0
        for request in requests:
            end = start + len(request.matrix)
            request.scores.set_result(scores[start:end])
            start = end
        return
    if len(requests) == 1:
        requests[0].scores.set_exception(failure)
        return
    for request in requests:  # some of them may be scored without the others
        _set_scores([request])
