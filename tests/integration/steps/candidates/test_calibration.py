"""Calibration of a candidate, from its record to its refit."""

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serving.model.manifest import CALIBRATED_FORMAT_VERSION, Manifest
from serving.model.probabilities import calibrated
from serving.model.scorer import PortableScorer
from steps.candidates.queries import (
    candidates_of,
    download_scorer,
    native_scores,
    refitted_model_of,
    validation_scores,
)
from steps.candidates.recording import record_candidate, record_refit
from steps.candidates.trained_model import TrainedModel
from steps.data.logged_splits import open_splits
from steps.evaluation.calibration import reliability
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import METRICS, ks_threshold
from steps.export.onnx_graphs import linear_graph, write_onnx
from steps.export.verification import ABSOLUTE_TOLERANCE
from steps.preparation.prepared_splits import prepare
from tests.support.workspaces import tracking_in


def overconfident(prepared):
    """Return a linear model whose log-odds are four times too large.

    Its own scores differ from those of its export by almost as much as the check allows.
    """
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    fitted.fit(prepared.training.X, prepared.training.y)
    scaler, linear = fitted
    coefficients, intercept = 4 * linear.coef_[0], 4 * linear.intercept_[0]

    def predict(split):
        log_odds = scaler.transform(split.X) @ coefficients + intercept
        scores = 1 / (1 + np.exp(-log_odds))
        return scores - np.minimum(5e-10, 5e-7 * scores)

    def export(folder):
        graph = linear_graph(coefficients, intercept)
        write_onnx(graph, folder, len(coefficients), mean=scaler.mean_, scale=scaler.scale_)
        return "onnx"

    return TrainedModel("Overconfident", {}, predict, log_native=lambda _: None, export=export)


@pytest.fixture(scope="module")
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


def test_calibrated_scorer_has_the_logged_metrics(recorded):
    candidate, _, splits = recorded
    y, run_id, metrics = splits.validation.y, candidate.info.run_id, candidate.data.metrics
    with download_scorer(run_id) as folder:
        scorer = PortableScorer.load(folder)
    scores = scorer.score(splits.validation.frame)
    assert (scores == validation_scores(run_id)).all()
    assert {name: metrics[f"val_{name}"] for name in METRICS} == Estimate(y, scores).metrics
    assert metrics["val_calibration_error"] == reliability(y, scores).calibration_error
    assert scorer.manifest.threshold == ks_threshold(y, scores)

    before = Estimate(y, scorer.uncalibrated.score(splits.validation.frame)).metrics
    for metric in ("ks", "roc_auc", "average_precision", "recall_at_1pct_fpr"):
        assert metrics[f"val_{metric}"] == before[metric]
    cross_fitted = before["log_loss"] - metrics["calibration_gain"]
    assert metrics["val_log_loss"] < cross_fitted < before["log_loss"]
    assert candidate.data.tags["calibration"].startswith("slope 0.")


def test_exports_are_compared_with_their_models_before_calibration(recorded):
    for run in recorded[:2]:
        assert run.data.tags["proven"] == "true", run.data.tags["export"]
        native = native_scores(run.info.run_id)
        with download_scorer(run.info.run_id) as folder:
            calibration = Manifest.read(folder).calibration
        magnified = calibrated(native, calibration) - validation_scores(run.info.run_id)
        assert np.abs(magnified).max() > 10 * ABSOLUTE_TOLERANCE


def test_refit_keeps_calibration_and_threshold(recorded):
    manifests = []
    for run in recorded[:2]:
        with download_scorer(run.info.run_id) as folder:
            manifests.append(Manifest.read(folder))
    first, second = manifests
    assert first.calibration == second.calibration
    assert first.calibration.slope == recorded[0].data.metrics["calibration_slope"]
    assert first.format_version == second.format_version == CALIBRATED_FORMAT_VERSION
    assert first.threshold == second.threshold
