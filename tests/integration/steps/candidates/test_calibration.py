"""Calibration of a candidate, from its record to its refit."""

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serving.model.manifest import CALIBRATED_FORMAT_VERSION, Manifest
from serving.model.scorer import PortableScorer
from steps.candidates.queries import (
    candidates_of,
    download_scorer,
    refitted_model_of,
    uncalibrated_scores,
    validation_scores,
)
from steps.candidates.recording import record_candidate, record_refit
from steps.candidates.trained_model import TrainedModel
from steps.data.logged_splits import open_splits
from steps.evaluation.metrics import evaluate
from steps.export.onnx_graphs import linear_graph, write_onnx
from steps.preparation.prepared_splits import prepare
from tests.support.workspaces import tracking_in


def overconfident(prepared):
    """Return a linear model whose log-odds are four times too large."""
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    fitted.fit(prepared.training.X, prepared.training.y)
    scaler, linear = fitted
    coefficients, intercept = 4 * linear.coef_[0], 4 * linear.intercept_[0]

    def predict(split):
        log_odds = scaler.transform(split.X) @ coefficients + intercept
        return 1 / (1 + np.exp(-log_odds))

    def export(folder):
        graph = linear_graph(coefficients, intercept)
        write_onnx(graph, folder, len(coefficients), mean=scaler.mean_, scale=scaler.scale_)
        return "onnx"

    return TrainedModel("Overconfident", {}, predict, log_native=lambda _: None, export=export)


@pytest.fixture
def recorded(in_process_steps, data_run):
    """The runs of an overconfident candidate and of its refit, with their splits."""
    with tracking_in(in_process_steps.workspace), open_splits(data_run) as splits:
        prepared = prepare(splits)
        model = overconfident(prepared)
        with mlflow.start_run() as step:
            record_candidate("fake", model, splits, prepared)
        (candidate,) = candidates_of(step.info.run_id)
        with mlflow.start_run() as step:
            record_refit("fake", model, splits, prepared, candidate.info.run_id)
        yield candidate, refitted_model_of(step.info.run_id), splits


def test_candidate_is_calibrated_before_and_after_its_refit(recorded):
    candidate, refit, splits = recorded
    y, run_id = splits.validation.y, candidate.info.run_id
    before, after = (evaluate(y, read(run_id)) for read in (uncalibrated_scores, validation_scores))
    metrics = candidate.data.metrics
    assert candidate.data.tags["calibration"].startswith("slope 0.")
    assert after["log_loss"] < metrics["val_log_loss"] < before["log_loss"]
    for metric in ("ks", "roc_auc", "average_precision"):
        assert metrics[f"val_{metric}"] == before[metric]

    manifests = []
    for run in (candidate, refit):
        assert run.data.tags["proven"] == "true"
        with download_scorer(run.info.run_id) as folder:
            manifests.append(Manifest.read(folder))
            scores = PortableScorer.load(folder).score(splits.validation.frame)
        np.testing.assert_allclose(scores, validation_scores(run.info.run_id), rtol=1e-9)
    first, second = manifests
    assert first.calibration == second.calibration
    assert first.calibration.slope == metrics["calibration_slope"]
    assert first.format_version == second.format_version == CALIBRATED_FORMAT_VERSION
    assert first.threshold == second.threshold
