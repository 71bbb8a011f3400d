"""Records of trained models as candidate runs in MLflow."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from serving.errors import ServingError
from serving.model.manifest import Manifest
from serving.model.runtimes import KINDS, load_runtime
from serving.model.scorer import PortableScorer
from steps.candidates.importance import permutation_importance
from steps.candidates.queries import (
    CONFIGURATION,
    EXPORT,
    EXPORT_IS_VERIFIED,
    IMPORTANCE,
    SCORER,
    SCORES,
    SECONDS_PER_ROW,
    download_scorer,
)
from steps.candidates.trained_model import Configuration, TrainedModel
from steps.data.feature_statistics import feature_statistics, merge_statistics
from steps.data.logged_splits import LoggedSplits
from steps.data.splits import Split
from steps.evaluation.calibration import reliability
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import Floats, ks_threshold
from steps.export.cost import seconds_per_row
from steps.export.verification import ExportCheck, verify_export
from steps.plots.curves import curves
from steps.plots.importance import importance_plot
from steps.plots.style import log_pictures
from steps.preparation.edge_rows import edge_rows
from steps.preparation.prepared_splits import PreparedSplits
from steps.runtime.errors import ExportError
from steps.runtime.mlflow_pages import link_both_ways
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")

# The native flavors infer a signature from so many rows.
SIGNATURE_ROWS = 100


def record_candidate(
    engine: str, model: TrainedModel, splits: LoggedSplits, prepared: PreparedSplits
) -> None:
    """Log a model as a child run: metrics, plots, native model and verified portable scorer."""
    name = f"{engine} {model.algorithm}"
    with mlflow.start_run(run_name=name, nested=True):
        scores = model.scores(prepared.validation)
        metrics = log_evaluation(name, scores, splits, refittable=model.configuration is not None)
        export = _log_model(engine, model, scores, splits, prepared)
    log_summary(name, metrics, export)


def record_refit(
    engine: str, model: TrainedModel, splits: LoggedSplits, prepared: PreparedSplits, refit_of: str
) -> None:
    """Log a model that was refitted on training and validation rows.

    The model has seen the validation rows, so no validation metrics are logged; the rows still
    verify its export. The threshold is that of the first fit, which had not seen these rows.

    Args:
        engine: The name of the engine.
        model: The refitted model.
        splits: The splits that it was fitted on.
        prepared: The same as the engine saw them.
        refit_of: The run of the candidate whose configuration it has.
    """
    name = f"{engine} {model.algorithm}"
    with refit_run(name, splits, refit_of) as (_, first_fit):
        scores = model.scores(prepared.validation)
        _log_scores(scores)
        export = _log_model(engine, model, scores, splits, prepared, first_fit)
    logger.info("%s: refitted; export %s", name, export)


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


def log_evaluation(
    name: str, scores: Floats, splits: LoggedSplits, *, refittable: bool
) -> dict[str, float]:
    """Log a candidate's inputs, and its metrics and plots on the validation rows.

    Args:
        name: Engine and algorithm.
        scores: Its scores of the validation rows, which nothing of it was fitted on, shape
            (n_rows,).
        splits: The splits.
        refittable: Whether it can be fitted again on other rows.

    Returns:
        The metrics `val_*`.
    """
    y = splits.validation.y
    with timed("recording"):
        splits.log_inputs(splits.training, splits.validation)
    with timed("judging"):
        estimate = Estimate(y, scores)
        metrics = {f"val_{metric}": value for metric, value in estimate.with_bounds.items()}
        metrics["val_calibration_error"] = reliability(y, scores).calibration_error
    with timed("recording"):
        mlflow.log_metrics(metrics)
        _log_scores(scores)
        mlflow.set_tag("refittable", str(refittable).lower())
        log_pictures(curves(y, scores, name), "plots")
    return metrics


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


def _log_model(
    engine: str,
    model: TrainedModel,
    scores: Floats,
    splits: LoggedSplits,
    prepared: PreparedSplits,
    first_fit: Manifest | None = None,
) -> str:
    """Log the native model and its export; return the result of the export check in words.

    Args:
        engine: The name of the engine.
        model: The model.
        scores: Its scores of the validation rows, shape (n_rows,).
        splits: The splits that it was fitted on.
        prepared: The same as the engine saw them.
        first_fit: The manifest of the first fit if this is a refit.
    """
    mlflow.set_tags({"engine": engine, "algorithm": model.algorithm, "data_run_id": splits.run_id})
    if model.configuration is not None:
        mlflow.log_dict(model.configuration, CONFIGURATION)
        mlflow.log_params(_short_values(model.configuration))
    with timed("recording"):
        model.log_native(prepared.validation.X.head(SIGNATURE_ROWS))
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        try:
            with timed("exporting"):
                scorer, check, failures = _export(
                    model, scores, splits, prepared, Path(temporary), first_fit
                )
        except (ExportError, ServingError) as error:  # the folder may be incomplete
            return log_verdict([str(error)])
        mlflow.log_artifacts(temporary, SCORER)
        title = "" if first_fit else f"{engine} {model.algorithm}"
        log_export(scorer, check, failures, splits.validation, title)
    return log_verdict(failures)


def log_export(
    scorer: PortableScorer, check: ExportCheck, failures: list[str], validation: Split, title: str
) -> None:
    """Log what the check of an export found, its cost, and the importance of features.

    Args:
        scorer: The export.
        check: The comparison with its model.
        failures: The criteria that it fails; then its importance is unknown.
        validation: The validation rows.
        title: Engine and algorithm; empty for a refit, which has no importance since it has seen
            the validation rows.
    """
    if title and not failures:
        _log_importance(scorer, validation, title)
    mlflow.log_metrics(
        {
            "export_largest_difference": check.largest_difference,
            "export_ks_difference": check.ks_difference,
            SECONDS_PER_ROW: seconds_per_row(scorer, validation.frame),
        }
    )


def _log_importance(scorer: PortableScorer, validation: Split, title: str) -> None:
    """Log the importance of each feature as table and plot."""
    with timed("importance"):
        importance = permutation_importance(scorer, validation)
        if importance is None:
            logger.info("%s: too many columns to measure their importance", title)
            return
        mlflow.log_text(importance.to_csv(index=False), IMPORTANCE)
    log_pictures({"importance.png": importance_plot(importance, title)}, "plots")


def log_verdict(failures: list[str]) -> str:
    """Tag the active run with the result of the export check, and return it in words."""
    verdict = "; ".join(failures) or "verified"
    mlflow.set_tags({EXPORT_IS_VERIFIED: str(not failures).lower(), EXPORT: verdict})
    return verdict


def _export(
    model: TrainedModel,
    native: Floats,
    splits: LoggedSplits,
    prepared: PreparedSplits,
    folder: Path,
    first_fit: Manifest | None,
) -> tuple[PortableScorer, ExportCheck, list[str]]:
    """Write the portable scorer of a model into `folder` and compare it with the model.

    The threshold is taken from the scores of the export, not of the model: the row that sets it
    must reach it when served.

    Returns:
        The scorer, the comparison on the validation rows, and the failures on these and on edge
        rows.
    """
    validation, description = splits.validation, splits.description
    kind = model.export(folder)
    if kind not in KINDS:
        raise ExportError(
            f"export returned the kind {kind!r}; it must be one of {', '.join(KINDS)}"
        )
    manifest = Manifest(
        kind=kind,
        features=tuple(splits.features),
        encodings=prepared.preparation.encodings,
        positive_weight=model.positive_weight,
        threshold=ks_threshold(validation.y, native),
        reference=_statistics(splits, refitted=first_fit is not None),
        id_column=description.id_column,
        target=description.target,
        classes=(description.classes[0], description.classes[1]),
    )
    graph = load_runtime(manifest.kind, folder, prepared.names)
    scorer = PortableScorer(manifest, graph)
    check, failures = check_export(
        scorer, native, lambda edge: model.scores(prepared.preparation.apply(edge)), splits
    )
    threshold = first_fit.threshold if first_fit else ks_threshold(validation.y, check.scores)
    replace(manifest, threshold=threshold).write(folder)
    return scorer, check, failures


def check_export(
    scorer: PortableScorer,
    native: Floats,
    score_natively: Callable[[Split], Floats],
    splits: LoggedSplits,
) -> tuple[ExportCheck, list[str]]:
    """Compare an export with its model on the validation rows and on edge rows.

    Args:
        scorer: The export.
        native: The model's own scores of the validation rows, shape (n_rows,).
        score_natively: Returns the model's own scores of edge rows.
        splits: The splits.

    Returns:
        The comparison on the validation rows, and the failures on these and on edge rows.
    """
    check = verify_export(scorer, native, splits.validation.frame, splits.validation.y)
    failures = check.failures
    if edge := edge_rows(splits):
        on_edge = verify_export(scorer, score_natively(edge), edge.frame, edge.y)
        failures += [f"rows with unseen or missing values: {text}" for text in on_edge.failures]
    return check, failures


def _statistics(splits: LoggedSplits, refitted: bool) -> dict[str, Any]:
    """Return the statistics of the rows that a model was fitted on."""
    training = splits.description.feature_statistics
    if not refitted:
        return training
    return merge_statistics(training, feature_statistics(splits.validation.file))


def _log_scores(scores: Floats) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / SCORES
        pd.DataFrame({"score": scores}).to_parquet(file)
        mlflow.log_artifact(str(file))


def _short_values(configuration: Configuration) -> dict[str, Any]:
    """Return the values of a configuration that are short enough for MLflow's table of runs."""
    flat = pd.json_normalize(configuration, sep=".").iloc[0].to_dict()
    return {name: value for name, value in flat.items() if len(json.dumps(value)) <= 100}
