"""What led to a retraining: it must not lead to the next one, too."""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from steps.monitoring.window import Window
from steps.pipeline.origin import MONITORING_RUN
from steps.pipeline.reference import sample

# On a monitoring run that asked for a retraining: what was in the log until then is its evidence.
UNTIL = "evidence_until"
# On every monitoring run: the run that made the champion that was looked at.
MODEL_RUN = "model_run_id"
# On a monitoring run whose retraining ended with a decision.
DECISION = "retraining_decision"

FOLDER, ROWS = "evidence", "rows.parquet"


@dataclass(frozen=True)
class Evidence:
    """What led to the last retraining of a champion's line.

    Attributes:
        until: predictions and labels of the log up to then were learned from, or could have been.
        rows: the features of up to 10,000 predictions of the window that asked for it.
    """

    until: datetime
    rows: pd.DataFrame


def note_evidence(run_id: str, window: Window, until: datetime) -> None:
    """Keep what leads to a retraining with its monitoring run; it counts when that has ended."""
    client = mlflow.MlflowClient()
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        rows = window.rows.loc[window.rows["has_features"], window.features]
        sample(rows).to_parquet(Path(folder) / ROWS, index=False)
        client.log_artifacts(run_id, folder, FOLDER)
    client.set_tag(run_id, UNTIL, until.isoformat())


def last_evidence(experiment_id: str, champion: ModelVersion) -> Evidence | None:
    """Return what led to the last retraining that made this champion or left it in place.

    A retraining that was interrupted before its decision does not count, and neither does one
    before a champion that came by another way.
    """
    found = mlflow.search_runs([experiment_id], f"tags.{UNTIL} != ''", output_format="list")
    ended = [run for run in found if _made(run, champion) or _left_in_place(run, champion)]
    if not ended:
        return None
    last = max(ended, key=_until)
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        file = mlflow.artifacts.download_artifacts(
            run_id=last.info.run_id, artifact_path=f"{FOLDER}/{ROWS}", dst_path=folder
        )
        return Evidence(_until(last), pd.read_parquet(file))


def _made(run: Run, champion: ModelVersion) -> bool:
    return champion.tags.get(MONITORING_RUN) == run.info.run_id


def _left_in_place(run: Run, champion: ModelVersion) -> bool:
    tags = run.data.tags
    return DECISION in tags and tags[MODEL_RUN] == champion.run_id


def _until(run: Run) -> datetime:
    return datetime.fromisoformat(run.data.tags[UNTIL])
