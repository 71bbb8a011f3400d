"""Explanations of scores."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ScorerError
from serving.model.explanations import (
    MAX_REFERENCE_ROWS,
    MAX_SCORED_ROWS,
    Explainer,
    log_odds,
    reference_row_count,
)
from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.probabilities import Calibration
from serving.model.scorer import PortableScorer
from tests.support.mixed_model import EXAMPLE, EXAMPLE_MATRIX, WEIGHTS

pytestmark = pytest.mark.quick


class RandomRuntime:
    """A model with interactions, steps, and probabilities of exactly 0 and 1."""

    def __init__(self, seed, width):
        random = np.random.default_rng(seed)
        self._weights = random.normal(size=(width, 4)) * 10 ** random.uniform(-2, 3)
        self.scored = 0

    def probability(self, matrix):
        self.scored += len(matrix)
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-np.sin(matrix @ self._weights).cumsum(1)[:, -1] * 50))


class LinearRuntime:
    def __init__(self, weights):
        self._weights = weights

    def probability(self, matrix):
        return 1 / (1 + np.exp(-(matrix @ self._weights)))


def scorer_of(runtime, width, references):
    names = [f"c{place}" for place in range(width)]
    rows = dict(zip(names, np.asarray(references, float).T.tolist(), strict=True))
    features = tuple(map(Feature, names))
    return PortableScorer(Manifest("onnx", features, threshold=0.5, reference_rows=rows), runtime)


def rows_of(scorer, values):
    return scorer.schema.parse_columns(np.asarray(values, float).T.tolist())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 5))
def test_base_and_contributions_add_up_to_log_odds(seed, width, n_references):
    random = np.random.default_rng(seed)
    references = random.normal(size=(n_references, width))
    scorer = scorer_of(RandomRuntime(seed, width), width, references)
    rows = rows_of(scorer, random.normal(size=(3, width)))
    scores = scorer.score_rows(rows)
    for explanation, expected in zip(
        Explainer(scorer).explain(rows, scores), log_odds(scores), strict=True
    ):
        found = math.fsum([explanation.base, *explanation.contributions.values()])
        assert found == pytest.approx(expected, abs=1e-12)
        naive = explanation.base + sum(explanation.contributions.values())
        assert naive == pytest.approx(expected, abs=1e-9)


def test_contributions_to_linear_model_are_exact():
    weights, random = np.array([1.0, -2.0, 0.0, 0.25]), np.random.default_rng(0)
    references = random.normal(size=(25, 4))
    scorer = scorer_of(LinearRuntime(weights), 4, references)
    row = random.normal(size=4)
    rows = rows_of(scorer, [row])
    (explanation,) = Explainer(scorer).explain(rows, scorer.score_rows(rows))
    assert explanation.base == pytest.approx((references @ weights).mean())
    found = list(explanation.contributions.values())
    np.testing.assert_allclose(found, (row - references.mean(0)) * weights, atol=1e-12)


def test_calibrated_scores_are_explained():
    weights, random = np.array([1.0, -2.0, 0.25]), np.random.default_rng(0)
    references, row = random.normal(size=(25, 3)), random.normal(size=3)
    scorer = scorer_of(LinearRuntime(weights), 3, references)
    calibration = Calibration(0.5, -1.25)
    scorer = scorer.with_manifest(scorer.manifest.with_calibration(calibration, 0.5))
    rows = rows_of(scorer, [row])
    scores = scorer.score_rows(rows)
    (explanation,) = Explainer(scorer).explain(rows, scores)
    assert explanation.base == pytest.approx(0.5 * (references @ weights).mean() - 1.25)
    found = list(explanation.contributions.values())
    np.testing.assert_allclose(found, 0.5 * (row - references.mean(0)) * weights, atol=1e-12)
    assert math.fsum([explanation.base, *found]) == pytest.approx(log_odds(scores)[0], abs=1e-12)


def test_row_is_explained_alike_in_every_request():
    scorer = scorer_of(RandomRuntime(3, 6), 6, np.random.default_rng(1).normal(size=(4, 6)))
    rows = rows_of(scorer, np.random.default_rng(2).normal(size=(5, 6)))
    scores = scorer.score_rows(rows)
    together = Explainer(scorer).explain(rows, scores)
    alone = rows_of(scorer, rows.numbers[3:4])
    assert Explainer(scorer).explain(alone, scores[3:4]) == [together[3]]


def test_each_kind_of_column_contributes_as_the_user_has_it(mixed_model):
    scorer = PortableScorer.load(mixed_model / "artifacts" / "scorer")
    reference = {name: EXAMPLE[name][1:] for name in scorer.names}
    scorer.manifest = replace(scorer.manifest, reference_rows=reference)
    rows = scorer.schema.parse_columns([EXAMPLE[name][:1] for name in scorer.names])
    (explanation,) = Explainer(scorer).explain(rows, scorer.score_rows(rows))
    expected = (EXAMPLE_MATRIX[0] - EXAMPLE_MATRIX[1]) * WEIGHTS
    assert list(explanation.contributions) == scorer.names
    np.testing.assert_allclose(list(explanation.contributions.values()), expected, atol=1e-9)


def test_extreme_scores_have_finite_log_odds():
    found = log_odds(np.array([0.0, 1e-300, 0.5, 1 - 1e-16, 1.0]))
    np.testing.assert_array_equal(found, [-36, -36, 0, 36, 36])


@pytest.mark.parametrize("width", [1, 2, 30, 500, 3_000])
def test_wide_tables_have_bounded_cost(width):
    n_references = reference_row_count(width)
    assert 1 <= n_references <= MAX_REFERENCE_ROWS
    runtime = RandomRuntime(0, width)
    scorer = scorer_of(runtime, width, np.zeros((n_references, width)))
    rows = rows_of(scorer, np.ones((1, width)))
    explainer, scores = Explainer(scorer), scorer.score_rows(rows)
    runtime.scored = 0
    explainer.explain(rows, scores)
    assert runtime.scored == 2 * n_references * (width - 1) <= MAX_SCORED_ROWS


@pytest.mark.parametrize("damaged", [{"c0": [1.0]}, {"c0": [1.0], "c1": ["x"]}])
def test_damaged_reference_rows_are_named(damaged):
    scorer = scorer_of(RandomRuntime(0, 2), 2, np.zeros((1, 2)))
    scorer.manifest = replace(scorer.manifest, reference_rows=damaged)
    with pytest.raises(ScorerError, match="reference_rows: "):
        Explainer(scorer)
