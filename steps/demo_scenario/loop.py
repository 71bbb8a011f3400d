"""Steps of the loop that the demo runs: training and monitoring."""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from steps.demo_scenario.data import MODEL_NAME
from steps.registry.versions import get_champion
from steps.runtime.errors import EngineError
from steps.workflow.running import run_step


def train_champion(rows: pd.DataFrame, folder: Path) -> None:
    """Run the whole workflow on `rows`, with one engine and the quick profile."""
    file = folder / "past.parquet"
    rows.to_parquet(file, index=False)
    run_step(
        "main",
        {"data": str(file), "engines": "pycaret", "profile": "quick", "model_name": MODEL_NAME},
        reuse=False,
    )


def monitor_last(count: int, log_uri: str, retrain: str) -> dict[str, Any]:
    """Monitor the last `count` predictions.

    Returns:
        The metrics and tags of the monitoring run, and its `run_id`.
    """
    parameters = {"model_name": MODEL_NAME, "last": count, "log_uri": log_uri, "retrain": retrain}
    run_id = run_step("monitor", parameters, reuse=False)
    monitoring = mlflow.get_run(mlflow.get_run(run_id).data.tags["monitoring_run_id"])
    return monitoring.data.metrics | monitoring.data.tags | {"run_id": monitoring.info.run_id}


def new_champion(monitoring: dict[str, Any]) -> str:
    """Return the version that replaced the monitored champion.

    Raises:
        EngineError: the monitored champion was not replaced.
    """
    version = str(get_champion(MODEL_NAME).version)
    if version == monitoring["model_version"]:
        reason = monitoring.get("retraining_decision") or monitoring.get(
            "retrained", "monitoring requested no retraining"
        )
        raise EngineError(
            f"version {version} of {MODEL_NAME} is still champion: {reason}; see run "
            f"{monitoring['run_id']} in the experiment '{MODEL_NAME} monitoring' with mlflow ui"
        )
    return version
