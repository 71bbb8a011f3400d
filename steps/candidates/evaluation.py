"""Evaluation of candidates on the validation rows, logged to their runs."""

import logging
import tempfile
from pathlib import Path

import mlflow
import pandas as pd

from steps.candidates.queries import CALIBRATION, SCORES
from steps.data.logged_splits import LoggedSplits
from steps.evaluation.calibration import reliability
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import PROBABILITY_METRICS, Floats, Labels
from steps.evaluation.platt import PlattScaling, learn_calibration
from steps.plots.curves import curves
from steps.plots.style import log_pictures
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")


def log_evaluation(
    name: str, uncalibrated: Floats, splits: LoggedSplits, *, refittable: bool
) -> tuple[dict[str, float], PlattScaling]:
    """Calibrate a candidate's scores; log its inputs, and its metrics and plots on validation rows.

    Log loss, Brier score and calibration error are those of cross-fitted calibrations. The other
    metrics depend on the order of the scores alone, which a calibration leaves as it is.

    Args:
        name: Engine and algorithm.
        uncalibrated: Its scores of the validation rows, which nothing of it was fitted on, shape
            (n_rows,).
        splits: The splits.
        refittable: Whether it can be fitted again on other rows.

    Returns:
        The metrics `val_*`, and the calibration.
    """
    y = splits.validation.y
    with timed("recording"):
        splits.log_inputs(splits.training, splits.validation)
    with timed("judging"):
        scaling = learn_calibration(y, uncalibrated)
        metrics = _metrics(y, scaling)
    with timed("recording"):
        mlflow.log_metrics(metrics | _gain(scaling))
        mlflow.set_tags({CALIBRATION: str(scaling), "refittable": str(refittable).lower()})
        log_scores(scaling.scores, uncalibrated)
        log_pictures(curves(y, scaling.scores, name, scaling.cross_fitted), "plots")
    return metrics, scaling


def log_scores(scores: Floats, uncalibrated: Floats) -> None:
    """Log scores of the validation rows, and the same before their calibration."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / SCORES
        pd.DataFrame({"score": scores, "uncalibrated": uncalibrated}).to_parquet(file)
        mlflow.log_artifact(str(file))


def log_summary(name: str, metrics: dict[str, float], export: str) -> None:
    """Log a line on a candidate to the terminal."""
    logger.info(
        "%s: validation KS %.4f, ROC AUC %.4f, log loss %.5f; export %s",
        name,
        metrics["val_ks"],
        metrics["val_roc_auc"],
        metrics["val_log_loss"],
        export,
    )


def _metrics(y: Labels, scaling: PlattScaling) -> dict[str, float]:
    """Return the metrics `val_*` with the ends of their intervals."""
    found = Estimate(y, scaling.scores).with_bounds
    if scaling.calibration is not None:
        cross_fitted = Estimate(y, scaling.cross_fitted).with_bounds
        found |= {
            name: cross_fitted[name] for name in found if name.startswith(PROBABILITY_METRICS)
        }
    metrics = {f"val_{name}": value for name, value in found.items()}
    error = reliability(y, scaling.cross_fitted).calibration_error
    return metrics | {"val_calibration_error": error}


def _gain(scaling: PlattScaling) -> dict[str, float]:
    """Return the metrics of a calibration: its parameters, if there is one, and what it gains."""
    gain = {
        "calibration_gain": scaling.gain,
        "calibration_gain_standard_error": scaling.standard_error,
    }
    if scaling.calibration is None:
        return gain
    return gain | {
        "calibration_slope": scaling.calibration.slope,
        "calibration_intercept": scaling.calibration.intercept,
    }
