"""Processes of a step: reachable on loopback only, and ended with it."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.processes import (
    has_loaded,
    java_processes,
    process_tree,
    processes_matching,
    send_signal,
)
from tests.support.project import PROJECT
from tests.support.waiting import wait_until
from tests.support.workspaces import BackgroundRun, Workspace

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture
def start_training(workspace, step_runs):
    """Start a training step on the sample."""
    started = []

    def start(engine: str, launcher: bool = False) -> BackgroundRun:
        data_run_id = step_runs["load_data"].info.run_id
        start = workspace.start if launcher else workspace.start_step
        running = start(f"train_{engine}", data_run_id=data_run_id, profile="quick")
        started.append(running)
        return running

    yield start
    for running in started:
        running.popen.kill()
        running.wait()


def test_workflow_listens_on_loopback_and_leaves_no_java(completed_run):
    assert completed_run.addresses, "it should have listened somewhere"
    assert completed_run.addresses <= LOOPBACK
    assert completed_run.java_started >= 2, "H2O's and Spark's"
    assert completed_run.java_left == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["h2o", "spark"])
def test_java_ends_with_its_step(start_training, engine, how):
    step = start_training(engine)
    wait_until(lambda: java_processes(step.outer), 60)
    time.sleep(1)
    # Spark's shell scripts are among them: they turn into its Java process.
    everyone = process_tree(step.outer)
    processes_matching(step.outer, f"-m steps.engines.{engine}")[0].send_signal(how)
    step.wait()
    wait_until(lambda: not any(process.is_running() for process in everyone), 20)


def test_killed_mlflow_leaves_no_process(start_training):
    step = start_training("h2o", launcher=True)
    java = wait_until(lambda: java_processes(step.outer), 60)
    everyone = process_tree(step.outer)[1:]
    step.popen.kill()
    wait_until(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)


TRAINING_STARTED = {"h2o": "H2O AutoML trains", "spark": "Spark fits"}
ENGINE_DIED = {"h2o": "the H2O server ended", "spark": "exited unexpectedly"}


@pytest.mark.parametrize("engine", TRAINING_STARTED)
def test_dead_engine_is_reported(workspace, start_training, engine):
    step = start_training(engine, launcher=True)
    wait_until(lambda: TRAINING_STARTED[engine] in step.output, 60)
    time.sleep(2)
    send_signal(java_processes(step.outer), signal.SIGKILL)
    assert step.wait() != 0
    (run, *_) = workspace.runs(f"attributes.run_name = 'train_{engine}'")
    assert run.info.status == "FAILED"
    assert ENGINE_DIED[engine] in run.data.tags["error"]


def terminate(outer: psutil.Process) -> None:
    processes_matching(outer, "-m steps.main")[0].terminate()


def press_ctrl_c(outer: psutil.Process) -> None:
    """A terminal sends the signal to all of its processes at once."""
    send_signal(process_tree(outer), signal.SIGINT)


@pytest.mark.parametrize("stop", [terminate, press_ctrl_c])
def test_interrupted_workflow_is_marked_killed(workspace, step_runs, stop):
    """MLflow's launcher marks the run as failed first; see `steps.runtime.mark_killed`."""
    before = {run.info.run_id for run in workspace.runs()}
    running = workspace.start(data="sample", engines="h2o", profile="quick", seed="7")
    java = wait_until(lambda: java_processes(running.outer), 120)
    wait_until(lambda: "H2O AutoML trains" in running.output, 120)
    time.sleep(1)  # H2O's client makes an error of its own of what comes while it asks for a job
    everyone = process_tree(running.outer)
    stop(running.outer)
    running.wait()
    wait_until(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)

    def statuses() -> dict[str, str]:
        new = [run for run in workspace.runs() if run.info.run_id not in before]
        return {run.info.run_name: run.info.status for run in new}

    wait_until(lambda: statuses()["main"] == "KILLED", 20)
    assert statuses()["train_h2o"] == "KILLED"
    (training, *_) = workspace.runs("attributes.run_name = 'train_h2o'")
    assert "error" not in training.data.tags


def terminate_step(outer: psutil.Process) -> None:
    processes_matching(outer, "-m steps.monitor")[0].terminate()


@pytest.mark.parametrize("stop", [terminate_step, press_ctrl_c])
def test_step_interrupted_during_imports_is_marked_killed(tmp_path, stop):
    workspace = Workspace(tmp_path)
    running = workspace.start("monitor")

    def imports() -> bool:
        steps = processes_matching(running.outer, "-m steps.monitor")
        return any(has_loaded(step, "numpy") for step in steps)

    wait_until(imports, 120)
    stop(running.outer)
    running.wait()
    assert "ml-pipes: monitor: interrupted" in running.output.splitlines()
    assert "Traceback" not in running.output.partition("ml-pipes: monitor")[0]
    wait_until(lambda: [run.info.status for run in workspace.runs()] == ["KILLED"], 60)


CANCELLED = """
import os, signal
import mlflow
from steps.runtime.entry_point import step

@step
def cancelled() -> None:
    with mlflow.start_run(run_name="recorded", nested=True):
        pass
    with mlflow.start_run(run_name="open", nested=True):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("Job was cancelled by the user")

cancelled()
"""


def test_interrupt_raised_as_library_error_is_interrupt(tmp_path):
    workspace = Workspace(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CANCELLED],
        cwd=workspace.folder,
        env=workspace.environment(PYTHONPATH=str(PROJECT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "ml-pipes: cancelled: interrupted"
    (run,) = workspace.runs("attributes.run_name = 'cancelled'")
    assert (run.info.status, "error" in run.data.tags) == ("KILLED", False)
    children = workspace.children(run.info.run_id)
    statuses = {child.info.run_name: child.info.status for child in children}
    assert statuses == {"recorded": "FINISHED", "open": "KILLED"}
