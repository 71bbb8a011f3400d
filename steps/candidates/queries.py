"""Candidate runs, as later steps read them from MLflow."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from steps.candidates.trained_model import Configuration
from steps.evaluation.metrics import Floats
from steps.runtime.errors import ParameterError

# Artifacts of a candidate's run.
SCORER = "scorer"
CONFIGURATION = "configuration.json"
SCORES = "validation_scores.parquet"
IMPORTANCE = "importance.csv"

# The metric of a candidate's run that says what its scores cost; candidates of earlier releases
# have none.
SECONDS_PER_ROW = "seconds_per_row"
# The tag that says how a candidate's scores are calibrated, or why they are not.
CALIBRATION = "calibration"
# The engine of candidates that select_champion makes of others.
ENSEMBLE = "ensemble"

# Tags of a candidate's run: the result of the export check in words, and as a yes or no under the
# name that the first release gave it.
EXPORT = "export"
EXPORT_IS_VERIFIED = "proven"


def read_configuration(run_id: str, engine: str) -> Configuration:
    """Return the configuration of a candidate of `engine`.

    Raises:
        ParameterError: The run is not a candidate of this engine, or cannot be refitted.
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
        ParameterError: There is no such run, or it is a refit.
    """
    runs = _models_of(step_run_id)
    if any("val_ks" not in run.data.metrics for run in runs):
        raise ParameterError(
            f"training_run_ids: run {step_run_id} refitted a winner, whose validation rows it has "
            "seen; pass runs of training steps"
        )
    return runs


def refitted_model_of(step_run_id: str) -> Run:
    """Return the run of the model that a training step refitted."""
    (model,) = _models_of(step_run_id)
    return model


def _models_of(step_run_id: str) -> list[Run]:
    client = mlflow.MlflowClient()
    try:
        experiment = client.get_run(step_run_id).info.experiment_id
    except MlflowException:
        raise ParameterError(
            f"training_run_ids: run {step_run_id} not found; pass runs of finished training steps"
        ) from None
    runs = client.search_runs(
        [experiment],
        f"tags.`mlflow.parentRunId` = '{step_run_id}' and tags.{EXPORT_IS_VERIFIED} != ''",
        order_by=["attributes.start_time ASC"],
    )
    return list(runs)


def export_is_verified(run: Run) -> bool:
    """Return whether the export of a candidate reproduced the scores of its model."""
    return run.data.tags[EXPORT_IS_VERIFIED] == "true"


class ValidationScores(NamedTuple):
    """A candidate's scores of the validation rows, each of shape (n_rows,).

    Attributes:
        served: As the candidate is served.
        native: Of its own model, before calibration.
    """

    served: Floats
    native: Floats


def read_scores(run_id: str) -> ValidationScores:
    """Return a candidate's scores of the validation rows."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=SCORES, dst_path=folder
        )
        scores = pd.read_parquet(file)
    # Candidates of earlier releases are not calibrated.
    native = "native" if "native" in scores else "score"
    return ValidationScores(*(scores[name].to_numpy(np.float64) for name in ("score", native)))


def validation_scores(run_id: str) -> Floats:
    """Return a candidate's scores of the validation rows as it is served, shape (n_rows,)."""
    return read_scores(run_id).served


def native_scores(run_id: str) -> Floats:
    """Return the scores of a candidate's own model, before calibration, shape (n_rows,)."""
    return read_scores(run_id).native


def importance_of(run_id: str) -> pd.DataFrame | None:
    """Return the importance of a candidate's features, the largest first.

    None if it has none: its export is not verified, or it is of an earlier release.
    """
    found = mlflow.MlflowClient().list_artifacts(run_id)
    if IMPORTANCE not in {artifact.path for artifact in found}:
        return None
    text = mlflow.artifacts.load_text(f"runs:/{run_id}/{IMPORTANCE}")
    # Names such as NA and 007 are text.
    return pd.read_csv(StringIO(text), dtype={"column": str}, keep_default_na=False)


@contextmanager
def download_scorer(run_id: str) -> Iterator[Path]:
    """Provide a local copy of a run's portable scorer, removed on exit."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        yield Path(
            mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=SCORER, dst_path=folder
            )
        )
