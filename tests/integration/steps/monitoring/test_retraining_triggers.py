"""Retraining triggers, on a tracking store of their own."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from unittest.mock import Mock

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from steps.data.origin import BASE, TIMES_FROM
from steps.monitoring import retraining
from steps.monitoring.retraining_data import RetrainingData
from steps.monitoring.retraining_triggers import last_trigger, record_trigger
from steps.monitoring.runs import exclusive_monitoring, monitoring_run
from steps.runtime.errors import BusyError, StepError
from steps.runtime.mlflow_pages import run_link
from tests.support.monitoring import START, feature_table, scored_window
from tests.support.workspaces import Workspace, tracking_in


class TestLastTrigger:
    @pytest.fixture(autouse=True)
    def store(self, tmp_path) -> Iterator[None]:
        with tracking_in(Workspace(tmp_path)):
            yield

    @staticmethod
    def monitored(version: ModelVersion) -> Run:
        with mlflow.start_run(), monitoring_run("fraud") as run:
            mlflow.set_tag("model_run_id", version.run_id)
        return run

    @staticmethod
    def version(run_id: str, **tags: str) -> ModelVersion:
        found = [ModelVersionTag(*tag) for tag in tags.items()]
        return ModelVersion("fraud", "2", 0, run_id=run_id, tags=found)

    def test_last_trigger_belongs_to_champion(self):
        first = self.version("first-model")
        run = self.monitored(first)
        experiment = run.info.experiment_id
        assert last_trigger(experiment, first) is None
        record_trigger(run.info.run_id, scored_window(300), START)
        assert last_trigger(experiment, first) is None  # interrupted, or still running

        mlflow.MlflowClient().set_tag(run.info.run_id, "retraining_decision", "not better")
        found = last_trigger(experiment, first)
        assert found.until == START
        assert sorted(found.features["V1"]) == sorted(feature_table(300)["V1"])
        assert last_trigger(experiment, self.version("trained-by-hand")) is None

        later = self.monitored(first)
        record_trigger(later.info.run_id, scored_window(400), START + timedelta(days=1))
        second = self.version("second-model", monitoring_run_id=later.info.run_id)
        assert len(last_trigger(experiment, second).features) == 400
        assert len(last_trigger(experiment, first).features) == 300

    def test_decision_without_engine_is_tagged(self, monkeypatch):
        def without_an_engine(*_, **__):
            with mlflow.start_run(nested=True) as workflow:
                mlflow.set_tag("decision", "it is better")
            raise StepError("main", "completed with failures: h2o", workflow.info.run_id)

        champion = Mock(registered=self.version("first-model"))
        run = self.monitored(champion.registered)
        data = RetrainingData(feature_table(10), {}, "base", pd.Timestamp(START), 10, 0, 0)
        monkeypatch.setattr(retraining, "build_retraining_data", lambda *_: data)
        monkeypatch.setattr(retraining, "run_step", without_an_engine)
        monkeypatch.setattr(retraining, "open_log", lambda _: nullcontext())
        with mlflow.start_run() as step, pytest.raises(StepError, match="failures: h2o"):
            retraining.retrain_champion("uri", champion, Mock(title="DRIFT"), run)
        tags = mlflow.get_run(step.info.run_id).data.tags
        assert (tags[BASE], tags[TIMES_FROM]) == ("base", START.isoformat())
        tags = mlflow.get_run(run.info.run_id).data.tags
        assert (tags["retrained"], tags["retraining_decision"]) == ("yes: DRIFT", "it is better")
        workflow = mlflow.get_run(tags["retraining_run_id"])
        for one, other in ((run, workflow), (workflow, run)):
            note = mlflow.get_run(one.info.run_id).data.tags["mlflow.note.content"]
            assert f"({run_link(other)})" in note


@pytest.mark.quick
def test_model_is_monitored_once_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    with exclusive_monitoring("fraud"):
        with exclusive_monitoring("another"):
            pass
        busy = pytest.raises(BusyError, match="fraud is being monitored by another process")
        with busy, exclusive_monitoring("fraud"):
            pass
    with exclusive_monitoring("fraud"):
        pass
