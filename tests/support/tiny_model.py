"""A model of two features, rows for it and its exact scores."""

from pathlib import Path

import numpy as np
import pytest

from serving.model.features import Feature
from serving.model.manifest import Manifest
from steps.export.onnx_graphs import linear_graph, write_onnx

JSON_HEADERS = {"Content-Type": "application/json"}


ROW = {"V1": 1.0, "gap": 2.0}


COLUMNS = {"V1": [1.0, -1.0, 3], "gap": [2.0, None, 0], "id": ["a", 7, None]}


def tiny_model_scores(v1, gap):
    return 1 / (1 + np.exp(-(2 * v1 - gap)))


def write_tiny_model(folder: Path) -> Path:
    """Write an MLflow model of two features; `gap` may be missing."""
    scorer = folder / "artifacts" / "scorer"
    scorer.mkdir(parents=True)
    fill = np.array([0.0, 0.5])
    write_onnx(linear_graph(np.array([2.0, -1.0]), 0.0), scorer, 2, fill=fill)
    features = (Feature("V1"), Feature("gap", nullable=True))
    Manifest("onnx", features, threshold=0.5, threshold_rule="cost=500:10").write(scorer)
    (folder / "MLmodel").write_text("run_id: abc\n")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))
