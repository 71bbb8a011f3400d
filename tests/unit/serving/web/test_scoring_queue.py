"""Requests that wait together: their scores, failures, and calls of the model."""

import asyncio

import numpy as np
import pytest

from serving.errors import ScorerError
from serving.model.features import Feature, FeatureRows
from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from serving.web.scoring_queue import ROWS_PER_CALL, ScoringQueue

pytestmark = pytest.mark.quick

FEATURES = (Feature("a"), Feature("b"))
FAILING = 13.0


class Runtime:
    """A model that notes the rows of each call and cannot score `FAILING`."""

    def __init__(self, factor):
        self.factor = factor
        self.calls = []

    def probability(self, matrix):
        self.calls.append(len(matrix))
        if (matrix == FAILING).any():
            raise ScorerError("13 cannot be scored")
        return 1 / (1 + np.exp(-self.factor * matrix.sum(axis=1)))


def rows_of(values):
    return FeatureRows(FEATURES, np.asarray(values, dtype=float).reshape(-1, 2), [])


def scorer_with(factor):
    runtime = Runtime(factor)
    return PortableScorer(Manifest("onnx", FEATURES, threshold=0.5), runtime), runtime


def answers_to(*requests):
    """Return the scores of each request, or its error."""

    async def ask():
        queue = ScoringQueue()
        waiting = [queue.score(scorer, rows) for scorer, rows in requests]
        return await asyncio.gather(*waiting, return_exceptions=True)

    return asyncio.run(ask())


def test_waiting_requests_share_calls_and_get_their_own_scores():
    random = np.random.default_rng(0)
    (first, calls), (second, other_calls) = scorer_with(1.0), scorer_with(-2.0)
    requests = [(first, rows_of(random.normal(size=(n, 2)))) for n in (1, 1, 3, 60, 39, 150, 2)]
    requests[2:2] = [(second, rows_of([[1.0, 2.0]]))]
    answers = answers_to(*requests)
    assert ROWS_PER_CALL == 100
    assert calls.calls == [2, 63, 39, 150, 2]
    assert other_calls.calls == [1]
    for (scorer, rows), scores in zip(requests, answers, strict=True):
        assert (scores == scorer.score_rows(rows)).all()


def test_failing_request_fails_alone():
    scorer, _ = scorer_with(1.0)
    good = rows_of([[0.0, 0.0]])
    first, error, last = answers_to(
        (scorer, good), (scorer, rows_of([FAILING, 0.0])), (scorer, good)
    )
    assert first == last == [0.5]
    assert isinstance(error, ScorerError)


@pytest.mark.parametrize("value", [0.0, FAILING])
def test_cancelled_request_leaves_the_others(value):
    scorer, _ = scorer_with(1.0)

    async def ask():
        queue = ScoringQueue()
        gone = asyncio.create_task(queue.score(scorer, rows_of([value, value])))
        stays = asyncio.create_task(queue.score(scorer, rows_of([0.0, 0.0])))
        await asyncio.sleep(0)
        gone.cancel()
        scores = await stays
        with pytest.raises(asyncio.CancelledError):
            await gone
        return scores, await queue.score(scorer, rows_of([0.0, 0.0]))

    assert asyncio.run(ask()) == ([0.5], [0.5])
