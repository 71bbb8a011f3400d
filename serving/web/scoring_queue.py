"""Scores of small requests: those that wait at the same time share a call of the model."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from serving.model.features import FeatureRows, Floats
from serving.model.scorer import PortableScorer

# Other events are handled between two calls.
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
            # Called after the handlers of all requests that have arrived by now.
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
        _score(requests)


def _score(requests: Sequence[_Waiting]) -> None:
    """Set the scores of requests for one model, or the error of each."""
    try:
        matrix = np.concatenate([request.matrix for request in requests])
        scores = requests[0].scorer.score_matrix(matrix)
    except Exception as error:
        if len(requests) > 1:  # some of them may be scored without the others
            for request in requests:
                _score([request])
        elif not requests[0].scores.cancelled():
            requests[0].scores.set_exception(error)
        return
    start = 0
    for request in requests:
        end = start + len(request.matrix)
        if not request.scores.cancelled():
            request.scores.set_result(scores[start:end])
        start = end
