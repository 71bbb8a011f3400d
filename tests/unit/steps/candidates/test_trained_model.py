"""Scores of trained models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steps.candidates.trained_model import TrainedModel
from steps.data.splits import Split
from steps.runtime.errors import EngineError

pytestmark = pytest.mark.quick


@pytest.fixture
def split():
    frame = pd.DataFrame({"V1": [0.0, 1.0, 2.0], "Class": [0, 1, 0]})
    return Split("validation", Path("validation.parquet"), ["V1"], "Class", in_memory=frame)


def model(raw, **settings) -> TrainedModel:
    return TrainedModel("Fake", None, lambda _: raw, print, str, **settings)


def test_scores_are_corrected_for_positive_weight(split):
    raw = np.array([0.5, 0.9, 0.0])
    assert model(raw, positive_weight=9.0).scores(split) == pytest.approx([0.1, 0.5, 0.0])


def test_scores_are_computed_once_for_each_split(split):
    calls = []
    counting = TrainedModel("Fake", None, lambda _: calls.append(1) or np.zeros(3), print, str)
    assert counting.scores(split) is counting.scores(split)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.full((3, 2), 0.5), r"shape \(3, 2\), not \(3,\)"),
        (np.full(2, 0.5), r"shape \(2,\), not \(3,\)"),
        (np.array([0.1, np.nan, 0.2]), "not probabilities"),
        (np.array([0.1, 1.5, 0.2]), "not probabilities"),
    ],
)
def test_scores_refuse_other_values(split, raw, message):
    with pytest.raises(EngineError, match=message):
        model(raw).scores(split)
