"""A linear scorer and its exact scores."""

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from steps.export.onnx_graphs import linear_graph, write_onnx

COEFFICIENTS, INTERCEPT = np.array([1.5, -0.7]), -2.0


def write_scorer(folder, fill=None, positive_weight=1.0):
    write_onnx(linear_graph(COEFFICIENTS, INTERCEPT), folder, 2, fill=fill)
    features = (Feature("V1", nullable=fill is not None), Feature("V2"))
    Manifest("onnx", features, threshold=0.3, positive_weight=positive_weight).write(folder)
    return PortableScorer.load(folder)


def linear_scores(frame):
    return 1 / (1 + np.exp(-(frame[["V1", "V2"]].to_numpy() @ COEFFICIENTS + INTERCEPT)))


@pytest.fixture
def feature_rows():
    return pd.DataFrame(np.random.default_rng(1).normal(size=(500, 2)), columns=["V1", "V2"])
