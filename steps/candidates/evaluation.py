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
from steps.evaluation.metrics import Floats
from steps.evaluation.platt import PlattScaling
from steps.plots.curves import curves
from steps.plots.style import log_pictures
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")


def log_evaluation(
    name: str, scaling: PlattScaling, native: Floats, splits: LoggedSplits, *, refittable: bool
) -> dict[str, float]:
    """Log a candidate's inputs, its calibration, and its metrics and plots on validation rows.

    Args:
        name: Engine and algorithm.
        scaling: Its calibration, with the scores of the validation rows that it will be served
            with.
        native: The scores of its model, before calibration, shape (n_rows,).
        splits: The splits.
        refittable: Whether it can be fitted again on other rows.

    Returns:
        The metrics `val_*`.
    """
    y, scores = splits.validation.y, scaling.scores
    with timed("recording"):
        splits.log_inputs(splits.training, splits.validation)
    with timed("judging"):
        estimate = Estimate(y, scores)
        metrics = {f"val_{metric}": value for metric, value in estimate.with_bounds.items()}
        metrics["val_calibration_error"] = reliability(y, scores).calibration_error
    with timed("recording"):
        mlflow.log_metrics(metrics | _calibration_metrics(scaling))
        mlflow.set_tags({CALIBRATION: str(scaling), "refittable": str(refittable).lower()})
        log_scores(scores, native)
        log_pictures(curves(y, scores, name), "plots")
    return metrics


def log_scores(scores: Floats, native: Floats) -> None:
    """Log scores of the validation rows, as served and as the model itself returns them."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / SCORES
        pd.DataFrame({"score": scores, "native": native}).to_parquet(file)
        mlflow.log_artifact(str(file))


def log_summary(name: str, metrics: dict[str, float], scaling: PlattScaling, export: str) -> None:
    """Log a line on a candidate to the terminal, and one on its calibration if it has one."""
    logger.info(
        "%s: validation KS %.4f, ROC AUC %.4f, log loss %.5f; export %s",
        name,
        metrics["val_ks"],
        metrics["val_roc_auc"],
        metrics["val_log_loss"],
        export,
    )
    if scaling.calibration is not None:
        logger.info(
            "%s: calibrated; cross-fitted log loss %.5f instead of %.5f",
            name,
            scaling.cross_fitted_log_loss,
            scaling.log_loss,
        )


def _calibration_metrics(scaling: PlattScaling) -> dict[str, float]:
    """Return the parameters of a calibration and what it gains; empty if there is none."""
    if scaling.calibration is None:
        return {}
    return {
        "calibration_slope": scaling.calibration.slope,
        "calibration_intercept": scaling.calibration.intercept,
        "calibration_gain": scaling.log_loss - scaling.cross_fitted_log_loss,
        "calibration_gain_standard_error": scaling.standard_error,
    }
