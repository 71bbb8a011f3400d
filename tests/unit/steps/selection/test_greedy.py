"""Greedy selection of an ensemble's members."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from serving.model.probabilities import combine
from steps.selection.greedy import cross_fitted_scores, select_weights

pytestmark = pytest.mark.quick

ROWS = 4000


@pytest.fixture(scope="module")
def y():
    return (np.random.default_rng(0).random(ROWS) < 0.3).astype(np.int64)


def scores_of(y, count, noise=1.5, seed=1):
    """Return calibrated scores of models that err independently, shape (count, n_rows)."""
    random = np.random.default_rng(seed)
    evidence = (2 * y - 1) + noise * random.normal(size=(count, len(y)))
    log_odds = 2 * evidence / noise**2 + np.log(0.3 / 0.7)
    return 1 / (1 + np.exp(-log_odds))


def test_models_that_err_independently_are_combined(y):
    scores = scores_of(y, 2)
    weights = select_weights(y, scores)
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)
    alone = [log_loss(y, one) for one in scores]
    assert log_loss(y, combine(scores, weights)) < min(alone) - 0.02


def test_model_that_says_nothing_new_gets_no_weight(y):
    good = scores_of(y, 1)[0]
    random = np.random.default_rng(2).permutation(good)
    assert list(select_weights(y, np.array([random, good, good]))) == [0, 1, 0]


def test_at_most_five_members_are_selected(y):
    weights = select_weights(y, scores_of(y, 9))
    assert (weights > 0).sum() == 5
    assert weights.sum() == pytest.approx(1)


def test_certain_mistake_does_not_rule_out_a_model(y):
    scores = scores_of(y, 2)
    scores[:, np.flatnonzero(y)[0]] = 0.0
    weights = select_weights(y, scores)
    assert (weights > 0).all()
    assert np.isfinite(cross_fitted_scores(y, scores)).all()


def test_cross_fitted_scores_do_not_flatter():
    y = np.arange(200) % 2
    guesses = np.random.default_rng(3).uniform(0.2, 0.8, size=(40, 200))
    weights = select_weights(y, guesses)
    assert log_loss(y, combine(guesses, weights)) < np.log(2) - 0.02
    assert log_loss(y, cross_fitted_scores(y, guesses)) > np.log(2)


def test_cross_fitted_scores_of_equal_candidates_are_theirs(y):
    scores = np.repeat(scores_of(y, 1), 2, axis=0)
    np.testing.assert_allclose(cross_fitted_scores(y, scores), scores[0], rtol=1e-9)
