"""Candidates that make no ensemble."""

import logging
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steps.selection.ensemble import add_ensemble

pytestmark = pytest.mark.quick

Y = np.arange(100) % 2
GOOD, RANDOM = np.where(Y == 1, 0.8, 0.2), np.full(100, 0.5)
SCORES = {"good": GOOD, "random": RANDOM}
SPLITS = SimpleNamespace(validation=SimpleNamespace(y=Y))


@pytest.fixture
def board():
    return pd.DataFrame(
        {
            "engine": ["h2o", "spark"],
            "algorithm": ["GLM_1", "Decision Tree"],
            "run_id": list(SCORES),
            "eligible": [True, True],
            "refittable": [True, True],
        }
    )


@pytest.mark.parametrize("column", ["eligible", "refittable"])
def test_one_possible_member_makes_no_ensemble(board, caplog, column):
    board.loc[1, column] = False
    with caplog.at_level(logging.INFO):
        assert not add_ensemble(board, SCORES, SPLITS)
    assert caplog.messages == [
        "no ensemble: it needs two candidates that are eligible and can be refitted"
    ]


def test_best_candidate_alone_is_no_ensemble(board, caplog):
    with caplog.at_level(logging.INFO):
        assert not add_ensemble(board, SCORES, SPLITS)
    assert caplog.messages == [
        "no ensemble: no combination has a lower log loss than h2o GLM_1 alone"
    ]
