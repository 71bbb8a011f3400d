"""Candidates: what an engine hands over, and the record each leaves in MLflow."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from serving.errors import ServingError
from serving.scorer import Manifest, PortableScorer, correct_prior
from steps.pipeline.errors import EngineError, ExportError, ParameterError
from steps.pipeline.evaluation import Floats, Labels, ks_threshold
from steps.pipeline.export import prove
from steps.pipeline.intervals import Estimate
from steps.pipeline.plots import curves, log_pictures
from steps.pipeline.progress import spent_on
from steps.pipeline.reference import QUANTILES
from steps.pipeline.splits import Splits

log = logging.getLogger("ml-pipes")

SCORER = "scorer"
CONFIGURATION = "configuration.json"
SCORES = "validation_scores.parquet"

Configuration = dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """A trained model of any engine.

    Attributes:
        algorithm: its name, as its engine says it.
        configuration: JSON from which its engine fits it again on other rows; None if it
            cannot.
        probability: its native raw probability of class 1 for each validation row, shape
            (n_rows,).
        log_native: logs it to the active run with the MLflow flavor of its engine.
        export: writes its graph into a folder and returns the kind (see `serving.graphs`).
        positive_weight: of a positive row in the fit, relative to a negative one.
    """

    algorithm: str
    configuration: Configuration | None
    probability: Floats
    log_native: Callable[[], None]
    export: Callable[[Path], str]
    positive_weight: float = 1.0

    @property
    def scores(self) -> Floats:
        """Its probabilities at the training prior, shape (n_rows,).

        Raises:
            EngineError: it gives something that is no probability.
        """
        raw = self.probability
        if not (np.isfinite(raw).all() and (raw >= 0).all() and (raw <= 1).all()):
            raise EngineError(f"{self.algorithm} gave scores that are no probabilities")
        return correct_prior(raw, self.positive_weight)


def record_candidate(engine: str, fitted: Fitted, splits: Splits) -> None:
    """Log a candidate as a child run: metrics, plots, native model, proven portable scorer."""
    validation = splits.validation
    with mlflow.start_run(run_name=f"{engine} {fitted.algorithm}", nested=True):
        with spent_on("recording"):
            splits.log_inputs(splits.training, validation)
        with spent_on("judging"):
            scores = fitted.scores
            estimate = Estimate(validation.y, scores)
            metrics = {f"val_{name}": value for name, value in estimate.with_bounds.items()}
        with spent_on("recording"):
            mlflow.log_metrics(metrics)
            _log_scores(scores)
            mlflow.set_tag("refittable", str(fitted.configuration is not None).lower())
            log_pictures(curves(validation.y, scores, f"{engine} {fitted.algorithm}"), "plots")
        verdict = _log_model(engine, fitted, splits)
        log.info(
            "%s %s: validation KS %.4f, ROC AUC %.4f, log loss %.5f; export %s",
            engine,
            fitted.algorithm,
            metrics["val_ks"],
            metrics["val_roc_auc"],
            metrics["val_log_loss"],
            verdict,
        )


def record_refit(engine: str, fitted: Fitted, splits: Splits, refit_of: str) -> None:
    """Log a winner that was fitted again on training and validation rows.

    It has seen the validation rows, so they measure nothing any more: no metrics. They still
    prove its export. The threshold and the reference of the scores stay those of the first
    fit, whose validation scores were those of unseen rows.
    """
    with mlflow.start_run(run_name=f"{engine} {fitted.algorithm} refit", nested=True):
        splits.log_inputs(splits.training, splits.validation)
        mlflow.set_tag("refit_of", refit_of)
        with download_scorer(refit_of) as scorer:
            first = Manifest.read(scorer)
        verdict = _log_model(engine, fitted, splits, first)
        log.info("%s %s fitted again; export %s", engine, fitted.algorithm, verdict)


def read_configuration(run_id: str, engine: str) -> Configuration:
    """Return the configuration of a candidate of `engine`.

    Raises:
        ParameterError: the run is no candidate of this engine, or cannot be refitted.
    """
    try:
        if mlflow.get_run(run_id).data.tags.get("engine") != engine:
            raise ParameterError(f"refit_of: run {run_id} is not a candidate of {engine}")
        configuration: Configuration = mlflow.artifacts.load_dict(f"runs:/{run_id}/{CONFIGURATION}")
    except (MlflowException, OSError) as error:
        raise ParameterError(
            f"refit_of: run {run_id} is not a candidate that can be refitted ({error})"
        ) from None
    return configuration


def candidates_of(step_run_id: str) -> list[Run]:
    """Return the finished candidate runs below a training step's run, in order of recording.

    Raises:
        ParameterError: there is no such run.
    """
    client = mlflow.MlflowClient()
    try:
        experiment = client.get_run(step_run_id).info.experiment_id
    except MlflowException:
        raise ParameterError(
            f"training_run_ids: there is no run {step_run_id}: pass finished training steps'"
        ) from None
    runs = client.search_runs(
        [experiment],
        f"tags.`mlflow.parentRunId` = '{step_run_id}' and tags.proven != ''",
        order_by=["attributes.start_time ASC"],
    )
    return list(runs)


def validation_scores(run_id: str) -> Floats:
    """Return the scores that a candidate gave to the validation rows, shape (n_rows,)."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=SCORES, dst_path=folder
        )
        return pd.read_parquet(file)["score"].to_numpy(np.float64)


@contextmanager
def download_scorer(run_id: str) -> Iterator[Path]:
    """Give a local copy of a run's portable scorer; it goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        yield Path(
            mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=SCORER, dst_path=folder
            )
        )


def _log_model(
    engine: str, fitted: Fitted, splits: Splits, first_fit: Manifest | None = None
) -> str:
    """Log what both kinds of record share, and return the verdict on the export in words."""
    mlflow.set_tags({"engine": engine, "algorithm": fitted.algorithm, "data_run_id": splits.run_id})
    if fitted.configuration is not None:
        mlflow.log_dict(fitted.configuration, CONFIGURATION)
        mlflow.log_params(_short(fitted.configuration))
    with spent_on("recording"):
        fitted.log_native()
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        folder = Path(temporary)
        try:
            with spent_on("exporting"):
                manifest = Manifest(
                    kind=fitted.export(folder),
                    features=tuple(splits.features),
                    positive_weight=fitted.positive_weight,
                    threshold=1.0,
                    reference=splits.description.reference,
                )
                manifest.write(folder)
                proof = prove(PortableScorer.load(folder), fitted.scores, splits.validation)
            failures = proof.failures
            if not failures:
                _with_scores(manifest, proof.scores, splits.validation.y, first_fit).write(folder)
            mlflow.log_metrics(
                {
                    "export_largest_difference": proof.largest_difference,
                    "export_ks_difference": proof.ks_difference,
                }
            )
        except (ExportError, ServingError) as error:
            failures = [str(error)]
        mlflow.log_artifacts(temporary, SCORER)
    verdict = "; ".join(failures) if failures else "equal to the model"
    mlflow.set_tags({"proven": str(not failures).lower(), "export": verdict})
    return verdict


def _log_scores(scores: Floats) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = Path(folder) / SCORES
        pd.DataFrame({"score": scores}).to_parquet(file)
        mlflow.log_artifact(str(file))


def _short(configuration: Configuration) -> dict[str, Any]:
    """Return what of a configuration is worth a column in MLflow's table of runs."""
    flat = pd.json_normalize(configuration, sep=".").iloc[0].to_dict()
    return {name: value for name, value in flat.items() if len(json.dumps(value)) <= 100}


def _with_scores(
    manifest: Manifest, scores: Floats, y: Labels, first_fit: Manifest | None
) -> Manifest:
    """Return `manifest` with threshold and score quantiles: of its own scores, or the first fit's.

    The export's scores, not the model's: a row that sets the threshold must reach it when served.
    """
    if first_fit is not None:
        threshold, quantiles = first_fit.threshold, first_fit.reference["scores"]
    else:
        threshold, quantiles = ks_threshold(y, scores), np.quantile(scores, QUANTILES).tolist()
    reference = manifest.reference | {"scores": quantiles}
    return replace(manifest, threshold=threshold, reference=reference)
