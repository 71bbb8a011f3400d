"""The log of a step that could not record it itself."""

import tempfile
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from steps.runtime import step_log

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("empty_registry")]


@pytest.fixture
def left(monkeypatch, tmp_path):
    """The file that a killed step has left in the temporary folder, and the step's run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with mlflow.start_run() as run:
        pass
    return Path(tmp_path, f"ml-pipes-{run.info.run_id}.log"), run.info.run_id


def test_log_of_killed_step_is_recorded_without_secrets(left):
    file, run_id = left
    file.write_text("connected to postgresql://me:secret@db/x\n")
    assert step_log.record_log(run_id)
    assert not file.exists()
    recorded = mlflow.artifacts.load_text(f"runs:/{run_id}/{step_log.ARTIFACT}")
    assert recorded == "connected to postgresql://me:***@db/x\n"


def test_empty_log_is_no_artifact(left):
    file, run_id = left
    file.touch()
    assert not step_log.record_log(run_id)
    assert not step_log.record_log(run_id)
    assert not file.exists()
    assert not mlflow.MlflowClient().list_artifacts(run_id)


def test_log_that_cannot_be_recorded_is_kept_and_named(left, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    file, run_id = left
    file.write_text("the reason")
    with monkeypatch.context() as broken:
        broken.setattr(mlflow.MlflowClient, "log_text", fail)
        with pytest.raises(MlflowException, match=f"kept in {file}: no space left"):
            step_log.record_log(run_id)
    assert step_log.record_log(run_id)
    assert not file.exists()


def test_end_of_long_log_is_kept(left, monkeypatch):
    monkeypatch.setattr(step_log, "LARGEST_BYTES", 7)
    file, run_id = left
    file.write_text("the beginning, the end")
    assert step_log.record_log(run_id)
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/step.log") == "the end"
