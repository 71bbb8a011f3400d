"""The test of a model against chance."""

import numpy as np
import pytest

from steps.evaluation.chance import SIGNIFICANCE_LEVEL, ChanceTest

pytestmark = pytest.mark.quick

Y = np.r_[np.ones(30, np.int64), np.zeros(300, np.int64)]


def test_model_is_better_than_chance():
    found = ChanceTest.of(Y, np.random.default_rng(1).normal(size=330) + 2 * Y)
    assert found.better
    assert str(found).startswith("better than chance on the test rows")


def test_backward_model_is_no_better_than_chance():
    found = ChanceTest.of(Y, np.random.default_rng(1).normal(size=330) - 2 * Y)
    assert not found.better
    assert str(found) == (
        "no better than chance on the test rows (one-sided Mann-Whitney p = 1, above 0.025)"
    )


def test_constant_score_is_no_better_than_chance():
    assert not ChanceTest.of(Y, np.full(330, 0.5)).better


def test_few_random_scores_are_better_than_chance():
    random = np.random.default_rng(1)
    better = [ChanceTest.of(Y, random.random(330)).better for _ in range(1000)]
    assert np.mean(better) == pytest.approx(SIGNIFICANCE_LEVEL, abs=0.015)
