"""Records of candidates in MLflow."""

import mlflow
import numpy as np
import pytest

from steps.candidates.queries import candidates_of
from steps.candidates.recording import record_candidate
from steps.candidates.trained_model import TrainedModel
from steps.data.logged_splits import open_splits
from steps.preparation.prepared_splits import prepare
from steps.runtime.errors import ExportError


@pytest.fixture
def tracked(in_process_steps):
    """The tracking store of the steps as that of this process."""
    mlflow.set_tracking_uri(in_process_steps.uri)
    yield
    mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("tracked")
def test_incomplete_export_is_not_logged(data_run):
    def export(folder):
        (folder / "model.onnx").write_bytes(b"the first half")
        raise ExportError("the graph has no second half")

    def predict(split):
        return np.linspace(0, 1, len(split.frame))

    model = TrainedModel("Half", None, predict, log_native=lambda _: None, export=export)
    with open_splits(data_run) as splits, mlflow.start_run() as step:
        record_candidate("fake", model, splits, prepare(splits))
    (candidate,) = candidates_of(step.info.run_id)
    assert candidate.data.tags["proven"] == "false"
    assert candidate.data.tags["export"] == "the graph has no second half"
    artifacts = mlflow.MlflowClient().list_artifacts(candidate.info.run_id)
    assert {artifact.path for artifact in artifacts} == {"plots", "validation_scores.parquet"}
