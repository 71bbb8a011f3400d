"""Records of trained models as candidate runs in MLflow."""

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from serving.model.manifest import Manifest
from serving.model.probabilities import calibrated
from steps.candidates.evaluation import log_evaluation, log_scores, log_summary
from steps.candidates.exports import Export, FailedExport, export_model, log_export
from steps.candidates.queries import CONFIGURATION, download_scorer
from steps.candidates.trained_model import Configuration, TrainedModel
from steps.data.logged_splits import LoggedSplits
from steps.evaluation.metrics import Floats, ks_threshold
from steps.evaluation.platt import PlattScaling, learn_calibration, uncalibrated
from steps.preparation.prepared_splits import PreparedSplits
from steps.runtime.mlflow_pages import link_both_ways
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")

# The native flavors infer a signature from so many rows.
SIGNATURE_ROWS = 100


def record_candidate(
    engine: str, model: TrainedModel, splits: LoggedSplits, prepared: PreparedSplits
) -> None:
    """Log a model as a child run: metrics, plots, native model and verified portable scorer.

    Metrics, plots and threshold are those of the portable scorer after its calibration, which is
    what would be served. If it is not verified, they are those of the model.
    """
    name, y = f"{engine} {model.algorithm}", splits.validation.y
    with (
        mlflow.start_run(run_name=name, nested=True),
        tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary,
    ):
        folder, native = Path(temporary), model.scores(prepared.validation)
        _log_model(engine, model, splits, prepared)
        export = export_model(model, splits, prepared, folder, refitted=False)
        scaling = _calibration_of(export, native, splits)
        metrics = log_evaluation(
            name, scaling, native, splits, refittable=model.configuration is not None
        )
        threshold = ks_threshold(y, scaling.scores)
        verdict = log_export(
            export, scaling.calibration, threshold, folder, splits.validation, name
        )
    log_summary(name, metrics, scaling, verdict)


def record_refit(
    engine: str, model: TrainedModel, splits: LoggedSplits, prepared: PreparedSplits, refit_of: str
) -> None:
    """Log a model that was refitted on training and validation rows.

    The model has seen the validation rows, so no validation metrics are logged; the rows still
    verify its export. Calibration and threshold are those of the first fit, which had not seen
    these rows.

    Args:
        engine: The name of the engine.
        model: The refitted model.
        splits: The splits that it was fitted on.
        prepared: The same as the engine saw them.
        refit_of: The run of the candidate whose configuration it has.
    """
    name = f"{engine} {model.algorithm}"
    with (
        refit_run(name, splits, refit_of) as (_, first_fit),
        tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary,
    ):
        folder, native = Path(temporary), model.scores(prepared.validation)
        _log_model(engine, model, splits, prepared)
        export = export_model(model, splits, prepared, folder, refitted=True)
        scores = _scores_of(export, native)
        log_scores(calibrated(scores, first_fit.calibration), native)
        verdict = log_export(
            export, first_fit.calibration, first_fit.threshold, folder, splits.validation
        )
    logger.info("%s: refitted; export %s", name, verdict)


@contextmanager
def refit_run(
    name: str, splits: LoggedSplits, refit_of: str
) -> Iterator[tuple[mlflow.ActiveRun, Manifest]]:
    """Provide a child run for a refit, linked with that of the first fit, and its manifest.

    Args:
        name: Engine and algorithm.
        splits: The splits of both.
        refit_of: The run of the first fit.
    """
    with mlflow.start_run(run_name=f"{name} refit", nested=True) as run:
        splits.log_inputs(splits.training, splits.validation)
        mlflow.set_tag("refit_of", refit_of)
        with download_scorer(refit_of) as scorer:
            first_fit = Manifest.read(scorer)
        yield run, first_fit
    link_both_ways(run.info.run_id, "Refit of", refit_of, "Refitted as")


def _calibration_of(
    export: Export | FailedExport, native: Floats, splits: LoggedSplits
) -> PlattScaling:
    """Return the calibration of an export, or none of its model if the export is not verified."""
    scores = _scores_of(export, native)
    if export.failures:
        return uncalibrated(scores, "the export is not verified")
    with timed("judging"):
        return learn_calibration(splits.validation.y, scores)


def _scores_of(export: Export | FailedExport, native: Floats) -> Floats:
    """Return the scores of a verified export before calibration, else those of its model."""
    return export.check.scores if isinstance(export, Export) and not export.failures else native


def _log_model(
    engine: str, model: TrainedModel, splits: LoggedSplits, prepared: PreparedSplits
) -> None:
    """Log what a model is, how it can be fitted again, and the native model."""
    mlflow.set_tags({"engine": engine, "algorithm": model.algorithm, "data_run_id": splits.run_id})
    if model.configuration is not None:
        mlflow.log_dict(model.configuration, CONFIGURATION)
        mlflow.log_params(_short_values(model.configuration))
    with timed("recording"):
        model.log_native(prepared.validation.head(SIGNATURE_ROWS)[prepared.names])


def _short_values(configuration: Configuration) -> dict[str, Any]:
    """Return the values of a configuration that are short enough for MLflow's table of runs."""
    flat = pd.json_normalize(configuration, sep=".").iloc[0].to_dict()
    return {name: value for name, value in flat.items() if len(json.dumps(value)) <= 100}
