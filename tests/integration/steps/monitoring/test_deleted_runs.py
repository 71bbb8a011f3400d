"""Champions whose runs or files were deleted for good, as `mlflow gc` does."""

import shutil
from pathlib import Path

import mlflow
import pytest

from steps.selection.registration import _monitoring_tag
from tests.support.earlier_release import unpack_earlier_release
from tests.support.in_process_steps import InProcessSteps
from tests.support.workspaces import Workspace, tracking_in

MODEL = "credit-card-fraud"


@pytest.fixture
def earlier(tmp_path, monkeypatch) -> Workspace:
    """A champion with its runs and logged predictions."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    return Workspace(unpack_earlier_release(tmp_path / "earlier"))


def delete_for_good(workspace: Workspace, run_id: str) -> None:
    workspace.client.delete_run(run_id)
    uri = workspace.tracking_uri
    options = ("--backend-store-uri", uri, "--tracking-uri", uri, "--run-ids", run_id)
    done = workspace.mlflow("gc", *options)
    assert done.returncode == 0, done.stderr


def run(workspace: Workspace, capsys, name: str, **parameters: str) -> tuple[int, list[str]]:
    """Return the status of a step, and its lines of errors."""
    status = InProcessSteps(workspace.folder).run(name, model_name=MODEL, **parameters)
    output = capsys.readouterr().err
    assert "Traceback" not in output
    return status, [line for line in output.splitlines() if line.startswith("ml-pipes:")]


@pytest.mark.parametrize("tag", ["data_run_id", "selection_run_id"])
def test_retraining_without_a_run_is_one_line(earlier, capsys, tag):
    run_id = earlier.client.get_model_version_by_alias(MODEL, "champion").tags[tag]
    delete_for_good(earlier, run_id)
    log_uri = f"sqlite:///{earlier.folder}/predictions.db"
    status, lines = run(earlier, capsys, "monitor", last="500", retrain="always", log_uri=log_uri)
    assert status == 1
    assert lines == [
        f"ml-pipes: monitor: version 2 of {MODEL} cannot be retrained, because a run that made it "
        f"was deleted (Run with id={run_id} not found): train another with "
        f"`mlflow run . -P model_name={MODEL}`"
    ]
    assert run(earlier, capsys, "monitor", last="500", log_uri=log_uri) == (0, [])
    assert run(earlier, capsys, "rollback") == (0, [])


def test_version_without_files_is_one_line(earlier, capsys):
    for model in list(Path(earlier.folder).rglob("MLmodel")):
        shutil.rmtree(model.parent)
    log_uri = f"sqlite:///{earlier.folder}/predictions.db"
    for name, version, parameters in (("monitor", 2, {"log_uri": log_uri}), ("rollback", 1, {})):
        status, lines = run(earlier, capsys, name, **parameters)
        assert status == 1
        assert lines == [
            f"ml-pipes: {name}: version {version} of {MODEL} cannot be read, so nothing changed: "
            "its files were deleted; restore them, or delete this version from the registry"
        ]


def test_refit_is_no_training_step(earlier, capsys):
    champion = earlier.client.get_model_version_by_alias(MODEL, "champion")
    refit = earlier.client.get_run(champion.tags["model_run_id"]).data.tags["mlflow.parentRunId"]
    status, lines = run(
        earlier, capsys, "select_champion",
        data_run_id=champion.tags["data_run_id"], training_run_ids=refit,
    )  # fmt: skip
    assert status == 2
    assert lines[0].startswith(f"ml-pipes: select_champion: training_run_ids: run {refit} refitted")


def test_selection_needs_no_origin_of_its_table(earlier):
    with tracking_in(earlier):
        with mlflow.start_run() as load_data:
            mlflow.log_param("data", "runs:/deleted/retraining.parquet")
        assert _monitoring_tag(load_data.info.run_id) == {}
