"""Portable scorers of candidates: written, compared with their models, and logged.

An export is compared with its model before its calibration, which would magnify the rounding of
scores near 0 and 1 by which both differ. The calibration is a function of the export's scores.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow

from serving.errors import ServingError
from serving.model.manifest import Manifest
from serving.model.probabilities import Calibration
from serving.model.runtimes import KINDS, load_runtime
from serving.model.scorer import PortableScorer
from steps.candidates.importance import permutation_importance
from steps.candidates.queries import (
    EXPORT,
    EXPORT_IS_VERIFIED,
    IMPORTANCE,
    SCORER,
    SECONDS_PER_ROW,
)
from steps.candidates.trained_model import TrainedModel
from steps.data.feature_statistics import feature_statistics, merge_statistics
from steps.data.logged_splits import LoggedSplits
from steps.data.splits import Split
from steps.evaluation.metrics import Floats, ks_threshold
from steps.export.cost import seconds_per_row
from steps.export.verification import ExportCheck, verify_export
from steps.plots.importance import importance_plot
from steps.plots.style import log_pictures
from steps.preparation.edge_rows import edge_rows
from steps.preparation.prepared_splits import PreparedSplits
from steps.runtime.errors import ExportError
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")


@dataclass(frozen=True)
class Export:
    """The portable scorer of a model, before its calibration, compared with the model.

    Attributes:
        scorer: The scorer.
        check: The comparison on the validation rows.
        failures: The criteria that it fails, there or on edge rows; empty if it is verified.
    """

    scorer: PortableScorer
    check: ExportCheck
    failures: list[str]


@dataclass(frozen=True)
class FailedExport:
    """An export that could not be written or read.

    Attributes:
        failures: The reason.
    """

    failures: list[str]


def export_model(
    model: TrainedModel,
    splits: LoggedSplits,
    prepared: PreparedSplits,
    folder: Path,
    *,
    refitted: bool,
) -> Export | FailedExport:
    """Write the portable scorer of a model into `folder` and compare it with the model.

    Args:
        model: The model.
        splits: The splits that it was fitted on.
        prepared: The same as the engine saw them.
        folder: An empty folder; incomplete if the export fails. It gets no manifest yet.
        refitted: Whether the model was fitted on the validation rows, too.
    """
    try:
        with timed("exporting"):
            return _export(model, splits, prepared, folder, refitted)
    except (ExportError, ServingError) as error:
        return FailedExport([str(error)])


def check_export(
    scorer: PortableScorer,
    native: Floats,
    score_natively: Callable[[Split], Floats],
    splits: LoggedSplits,
) -> Export:
    """Compare an export with its model on the validation rows and on edge rows.

    Args:
        scorer: The export, without a calibration.
        native: The model's own scores of the validation rows, shape (n_rows,).
        score_natively: Returns the model's own scores of edge rows.
        splits: The splits.
    """
    check = verify_export(scorer, native, splits.validation)
    failures = check.failures
    if edge := edge_rows(splits):
        on_edge = verify_export(scorer, score_natively(edge), edge)
        failures += [f"rows with unseen or missing values: {text}" for text in on_edge.failures]
    return Export(scorer, check, failures)


def log_export(
    export: Export | FailedExport,
    calibration: Calibration | None,
    threshold: float,
    folder: Path,
    validation: Split,
    title: str = "",
) -> str:
    """Log an export, its cost, and the importance of features; return the verdict in words.

    Args:
        export: The export.
        calibration: The calibration of its scores.
        threshold: A threshold of calibrated scores.
        folder: The folder of the export, which gets its manifest.
        validation: The validation rows.
        title: Engine and algorithm; empty for a refit, which has no importance since it has seen
            the validation rows.
    """
    if isinstance(export, Export):
        manifest = export.scorer.manifest.with_calibration(calibration, threshold)
        manifest.write(folder)
        mlflow.log_artifacts(str(folder), SCORER)
        scorer = export.scorer.with_manifest(manifest)
        if title and not export.failures:
            _log_importance(scorer, validation, title)
        mlflow.log_metrics(
            {
                "export_largest_difference": export.check.largest_difference,
                "export_ks_difference": export.check.ks_difference,
                SECONDS_PER_ROW: seconds_per_row(scorer, validation),
            }
        )
    verdict = "; ".join(export.failures) or "verified"
    mlflow.set_tags({EXPORT_IS_VERIFIED: str(not export.failures).lower(), EXPORT: verdict})
    return verdict


def _export(
    model: TrainedModel,
    splits: LoggedSplits,
    prepared: PreparedSplits,
    folder: Path,
    refitted: bool,
) -> Export:
    description = splits.description
    native = model.scores(prepared.validation)
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
        threshold=ks_threshold(splits.validation.y, native),
        reference=_statistics(splits, refitted),
        id_column=description.id_column,
        target=description.target,
        classes=(description.classes[0], description.classes[1]),
    )
    scorer = PortableScorer(manifest, load_runtime(manifest.kind, folder, prepared.names))

    def score_natively(edge: Split) -> Floats:
        return model.scores(prepared.preparation.apply(edge))

    return check_export(scorer, native, score_natively, splits)


def _log_importance(scorer: PortableScorer, validation: Split, title: str) -> None:
    """Log the importance of each feature as table and plot."""
    with timed("importance"):
        importance = permutation_importance(scorer, validation)
        if importance is None:
            logger.info("%s: too many columns to measure their importance", title)
            return
        mlflow.log_text(importance.to_csv(index=False), IMPORTANCE)
    log_pictures({"importance.png": importance_plot(importance, title)}, "plots")


def _statistics(splits: LoggedSplits, refitted: bool) -> dict[str, Any]:
    """Return the statistics of the rows that a model was fitted on."""
    training = splits.description.feature_statistics
    if not refitted:
        return training
    return merge_statistics(training, feature_statistics(splits.validation.file))
