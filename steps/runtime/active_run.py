"""The active MLflow run."""

import mlflow
from mlflow.entities import Run


def active_run() -> Run:
    """Return the active run, inside which every step runs."""
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    return run
