"""Workflow with an engine that fails."""

from unittest.mock import patch

from steps.main import select
from steps.runtime.errors import StepError
from steps.selection.leaderboard import read_leaderboard
from tests.support.workspaces import (
    reused_steps,
    tracking_in,
)


def test_workflow_continues_without_failed_engine(workspace, step_runs):
    done = workspace.run(
        data="sample",
        profile="quick",
        engines="h2o,pycaret",
        h2o_url="http://127.0.0.1:9",
        model_name="without-h2o",
    )
    reason = "no H2O answers at http://127.0.0.1:9"
    assert done.returncode != 0
    assert f"ml-pipes: main: completed with failures: h2o: h2o_url: {reason}" in done.stderr
    assert reused_steps(done.stderr) == {"load_data", "train_pycaret"}
    (run, *_) = workspace.runs("attributes.run_name = 'main'")
    assert run.info.status == "FAILED"
    assert reason in run.data.tags["failed.h2o"]
    assert run.data.tags["promoted"] == "true"
    version = workspace.client.get_model_version_by_alias("without-h2o", "champion")
    assert version.tags["engine"] == "pycaret"


def test_failed_refit_keeps_selected_model(workspace_copy, step_runs):
    workspace = workspace_copy
    with tracking_in(workspace):
        selected = step_runs["select_champion"].info.run_id
        board = read_leaderboard(selected)
    winner = board[board["engine"] == "pycaret"].iloc[0]["run_id"]
    artifacts = workspace.copy_artifacts(winner)
    (artifacts / "configuration.json").unlink()
    done = workspace.run(
        "select_champion",
        data_run_id=step_runs["load_data"].info.run_id,
        training_run_ids=step_runs["train_pycaret"].info.run_id,
        model_name="no-refit",
        cache="false",
    )
    assert done.returncode != 0
    line = "select_champion: pycaret could not refit the winner; using its first fit: refit_of"
    assert line in done.stderr
    version = workspace.client.get_model_version_by_alias("no-refit", "champion")
    assert version.tags["model_run_id"] == version.tags["candidate_run_id"] == winner
    (selection, *_) = workspace.runs("attributes.run_name = 'select_champion'")

    def failed(*_: object) -> str:
        raise StepError("select_champion", "no refit", selection.info.run_id)

    reasons: list[str] = []
    with tracking_in(workspace), patch("steps.main.run_step", failed):
        found = select({"model_name": "no-refit"}, False, reasons)
    assert (found.info.run_id, reasons) == (selection.info.run_id, ["no refit"])
