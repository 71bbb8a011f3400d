"""Retraining triggers.

The predictions and labels that triggered one retraining must not trigger the next.
"""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from steps.data.origin import MONITORING_RUN
from steps.data.reference import sample
from steps.monitoring.window import Window

# Tag of a monitoring run that requested a retraining: end of the triggering predictions and labels.
UNTIL_TAG = "evidence_until"
# Tag of every monitoring run: the run that logged the monitored champion.
MODEL_RUN_TAG = "model_run_id"
# Tag of a monitoring run whose retraining reached a decision.
DECISION_TAG = "retraining_decision"

ARTIFACT_FOLDER, FEATURES_FILE = "evidence", "rows.parquet"


@dataclass(frozen=True)
class RetrainingTrigger:
    """The predictions and labels that triggered a retraining.

    Attributes:
        until: time up to which predictions and labels were available to the retraining.
        features: features of up to 10,000 predictions of the triggering window.
    """

    until: datetime
    features: pd.DataFrame


def record_trigger(run_id: str, window: Window, until: datetime) -> None:
    """Store the trigger of a retraining in its monitoring run, before the retraining starts."""
    client = mlflow.MlflowClient()
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        sample(window.features).to_parquet(Path(folder) / FEATURES_FILE, index=False)
        client.log_artifacts(run_id, folder, ARTIFACT_FOLDER)
    client.set_tag(run_id, UNTIL_TAG, until.isoformat())


def last_trigger(experiment_id: str, champion: ModelVersion) -> RetrainingTrigger | None:
    """Return the trigger of the last retraining that made this champion or left it in place.

    Retrainings that were interrupted before their decision do not count, nor do those before a
    champion that was trained in another way.
    """
    runs = mlflow.search_runs([experiment_id], f"tags.{UNTIL_TAG} != ''", output_format="list")
    completed = [run for run in runs if _made(run, champion) or _left_in_place(run, champion)]
    if not completed:
        return None
    last = max(completed, key=_until)
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = mlflow.artifacts.download_artifacts(
            run_id=last.info.run_id,
            artifact_path=f"{ARTIFACT_FOLDER}/{FEATURES_FILE}",
            dst_path=folder,
        )
        return RetrainingTrigger(_until(last), pd.read_parquet(file))


def _made(run: Run, champion: ModelVersion) -> bool:
    return champion.tags.get(MONITORING_RUN) == run.info.run_id


def _left_in_place(run: Run, champion: ModelVersion) -> bool:
    tags = run.data.tags
    return DECISION_TAG in tags and tags[MODEL_RUN_TAG] == champion.run_id


def _until(run: Run) -> datetime:
    return datetime.fromisoformat(run.data.tags[UNTIL_TAG])
