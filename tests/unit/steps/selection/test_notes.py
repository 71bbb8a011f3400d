"""Notes on the pages of MLflow."""

import json

import mlflow
import pandas as pd
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from steps.runtime.mlflow_pages import link_both_ways
from steps.selection.notes import describe_experiment, describe_workflow

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("empty_registry")]

BOARD = pd.DataFrame(
    {
        "engine": ["h2o", "spark"],
        "algorithm": ["GBM_1", "Decision Tree"],
        "val_ks": [0.9, 0.8],
        "val_ks_low": [0.85, 0.7],
        "val_ks_high": [0.95, 0.9],
        "val_log_loss": [0.004, 0.005],
        "standing": ["leader", "behind"],
    }
)
TAGS = {
    "engine": "h2o",
    "algorithm": "GBM_1",
    "promoted": "true",
    "decision": "it is the first champion",
    "champion_version": "1",
}


@pytest.fixture
def run(request):
    experiment_id = mlflow.create_experiment(request.node.name)
    with mlflow.start_run(experiment_id=experiment_id, run_name="select_champion") as run:
        yield run


def note_of(run) -> str:
    return mlflow.get_experiment(run.info.experiment_id).tags[MLFLOW_RUN_NOTE]


def test_note_of_workflow_has_champion_leaderboard_and_steps(run):
    note = describe_workflow(run, BOARD, "ks", TAGS, "my model", [run])
    assert (
        "**[my model version 1 is the new champion](#/models/my%20model/versions/1)**: it is"
        in note
    )
    assert "| 1 | h2o | GBM_1 | 0.9000 (0.850 to 0.950) | 0.00400 | leader |" in note
    place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert (
        f"![leaderboard](get-artifact?path=plots/leaderboard.png&run_uuid={run.info.run_id})"
        in note
    )
    assert note.endswith(f"Steps: [select_champion]({place}).")


def test_note_of_workflow_shows_no_more_candidates_than_fit(run):
    board = pd.concat([BOARD] * 50, ignore_index=True)
    without_champion = TAGS | {"promoted": "false", "champion_version": ""}
    note = describe_workflow(run, board, "ks", without_champion, "fraud", [run])
    assert "**fraud has no champion**" in note
    assert "\n\n70 more are in the artifact" in note
    assert len(note) < 8_000
    mlflow.set_tag(MLFLOW_RUN_NOTE, note)


def test_experiment_is_marked_as_training_and_described(run):
    describe_experiment(run, "fraud", None)
    tags = mlflow.get_experiment(run.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "Champion" not in note_of(run)
    view = json.loads(tags["mlflow.sharedViewState.results"])
    assert "metrics.`test_ks`" in view["selectedColumns"]
    assert "/runs?viewStateShareKey=results)" in note_of(run)
    monitoring = mlflow.create_experiment("fraud monitoring")
    describe_experiment(run, "fraud", "2")
    assert "Champion: [fraud version 2](#/models/fraud/versions/2)" in note_of(run)
    assert "Monitoring: [fraud monitoring](#/experiments/" in note_of(run)
    mlflow.delete_experiment(monitoring)  # MLflow still finds it by its name
    describe_experiment(run, "fraud", "2")
    assert "Monitoring" not in note_of(run)


def test_notes_and_kinds_of_users_are_kept(run):
    client = mlflow.MlflowClient()
    experiment_id = run.info.experiment_id
    for name, value in ((MLFLOW_RUN_NOTE, "ours"), ("mlflow.experimentKind", "finetuning")):
        client.set_experiment_tag(experiment_id, name, value)
    describe_experiment(run, "fraud", "2")
    assert note_of(run) == "ours"
    assert client.get_experiment(experiment_id).tags["mlflow.experimentKind"] == "finetuning"


def test_runs_are_linked_both_ways_below_notes_of_users(run):
    client = mlflow.MlflowClient()
    experiment_id, run_id = run.info.experiment_id, run.info.run_id
    other = client.create_run(experiment_id, run_name="refit")
    mlflow.set_tag(MLFLOW_RUN_NOTE, "mine")
    for _ in range(2):
        link_both_ways(other.info.run_id, "Refit of", run_id, "Refitted as")
    place = f"#/experiments/{experiment_id}/runs"
    assert client.get_run(run_id).data.tags[MLFLOW_RUN_NOTE] == (
        f"mine\n\nRefitted as: [refit]({place}/{other.info.run_id})."
    )
    note = client.get_run(other.info.run_id).data.tags[MLFLOW_RUN_NOTE]
    assert note == f"Refit of: [select_champion]({place}/{run_id})."


def test_deleted_runs_are_not_linked(run):
    client = mlflow.MlflowClient()
    other = client.create_run(run.info.experiment_id)
    client.delete_run(other.info.run_id)
    for missing in (other.info.run_id, "0" * 32):
        link_both_ways(missing, "Refit of", run.info.run_id, "Refitted as")
    assert MLFLOW_RUN_NOTE not in client.get_run(run.info.run_id).data.tags
