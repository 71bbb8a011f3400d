"""The experiment of a model's monitoring runs."""

import mlflow
import pytest
from mlflow import MlflowClient

from steps.monitoring.runs import monitoring_run


@pytest.mark.usefixtures("empty_registry")
def test_deleted_monitoring_experiment_is_restored():
    client = MlflowClient()
    experiment_ids = []
    for _ in range(2):
        with mlflow.start_run(), monitoring_run("fraud") as run:
            experiment_ids.append(run.info.experiment_id)
        client.delete_experiment(experiment_ids[-1])
    assert experiment_ids[0] == experiment_ids[1] != "0"
