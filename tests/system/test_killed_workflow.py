"""Workflow killed in a step, then run again."""

import time

import psutil
import pytest

from steps.runtime.mlproject import module_of
from tests.support.processes import processes_matching
from tests.support.waiting import wait_until
from tests.support.workspaces import (
    BackgroundRun,
    Workspace,
    repeatable_metrics,
    reused_steps,
)

STEPS = ("load_data", "train_h2o", "train_pycaret", "train_spark", "select_champion")


def metrics_below(workspace: Workspace, main_run_id: str) -> dict[str, dict[str, float]]:
    """Return all metrics below a run of `main`, by the names of the runs."""
    found = {}
    for run in workspace.children(main_run_id):
        found[run.info.run_name] = repeatable_metrics(run)
        found |= metrics_below(workspace, run.info.run_id)
    return found


def kill_main_in(running: BackgroundRun, step: str) -> None:
    """Kill the workflow while `step` is at work, and wait until that has ended, too."""

    def processes() -> list[psutil.Process]:
        assert running.popen.poll() is None, running.output
        return processes_matching(running.outer, f"-m {module_of(step)}")

    started = wait_until(processes, 300)
    time.sleep(3)
    processes_matching(running.outer, "-m steps.main")[0].kill()
    running.wait()
    wait_until(lambda: not any(one.is_running() for one in started), 60)


def test_killed_workflow_resumes_with_same_metrics(workspace, step_runs, tmp_path):
    """Done in another place, it also shows that a run repeats to the last digit."""
    other = Workspace(tmp_path)
    parameters = {"data": "sample", "profile": "quick", "engines": "h2o"}
    kill_main_in(other.start(**parameters), "train_h2o")
    done = other.run(**parameters)
    assert done.returncode == 0, done.stderr
    assert reused_steps(done.stderr) == {"load_data"}
    (main,) = other.runs("attributes.run_name = 'main' and attributes.status = 'FINISHED'")
    found = metrics_below(other, main.info.run_id)
    for run in workspace.children(step_runs["train_h2o"].info.run_id):
        assert found[run.info.run_name] == repeatable_metrics(run)


@pytest.mark.slow
def test_workflow_killed_at_each_step_resumes_with_same_metrics(workspace, main_run, tmp_path):
    other = Workspace(tmp_path)
    for place, step in enumerate(STEPS):
        running = other.start(data="sample", profile="quick")
        kill_main_in(running, step)
        assert reused_steps(running.output) == set(STEPS[: max(place - 1, 0)])
    done = other.run(data="sample", profile="quick")
    assert done.returncode == 0, done.stderr
    assert reused_steps(done.stderr) >= set(STEPS[:-1])
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    assert len(other.client.search_model_versions("name = 'credit-card-fraud'")) == 1
    finished = other.runs("attributes.status = 'FINISHED'")
    expected = metrics_below(workspace, main_run.info.run_id)
    found = {run.info.run_name: repeatable_metrics(run) for run in finished}
    assert found == expected | {"main": repeatable_metrics(main_run)}
