"""Reuse of finished steps."""

from tests.support.workspaces import repeatable_metrics, reused_steps, run_arguments


def test_unchanged_run_reuses_every_step_in_any_experiment(workspace, main_run, step_runs):
    arguments = run_arguments("main", {"data": "sample", "profile": "quick"})
    done = workspace.mlflow(*arguments, "--experiment-name", "other")
    assert done.returncode == 0, done.stderr
    assert reused_steps(done.stderr) == set(step_runs)
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    experiment = workspace.client.get_experiment_by_name("other")
    (newest,) = workspace.client.search_runs([experiment.experiment_id])
    assert newest.info.run_id != main_run.info.run_id
    assert set(newest.data.tags["reused"].split(",")) == set(step_runs)
    assert repeatable_metrics(newest) == repeatable_metrics(main_run)
    place = f"#/experiments/0/runs/{step_runs['select_champion'].info.run_id}"
    assert f"[select_champion]({place})" in newest.data.tags["mlflow.note.content"]


def test_changed_champion_repeats_selection_alone(workspace_copy, step_runs):
    workspace_copy.client.delete_registered_model_alias("credit-card-fraud", "champion")
    done = workspace_copy.run(data="sample", profile="quick")
    assert done.returncode == 0, done.stderr
    assert reused_steps(done.stderr) >= set(step_runs) - {"select_champion"}
    assert "it is the first champion of this model" in done.stderr


def test_cache_false_reuses_no_step(workspace, step_runs):
    done = workspace.run(
        data="sample",
        profile="quick",
        engines="h2o",
        h2o_url="http://127.0.0.1:9",
        cache="false",
    )
    assert done.returncode != 0, "there is no such engine, so that it ends soon"
    assert not reused_steps(done.stderr)
    (newest, *_) = workspace.runs("attributes.run_name = 'load_data'")
    assert newest.info.run_id != step_runs["load_data"].info.run_id
