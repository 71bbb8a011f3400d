"""What a step starts: nothing that others can reach, and nothing that outlives it."""

import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from tests.conftest import PROJECT, Running, Workspace, family, java_of, named, wait_for

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture
def start(workspace, steps):
    """Start a training step on the sample."""
    started = []

    def start(engine: str) -> Running:
        data_run_id = steps["load_data"].info.run_id
        running = workspace.start(f"train_{engine}", data_run_id=data_run_id, profile="quick")
        started.append(running)
        return running

    yield start
    for running in started:
        running.popen.kill()
        running.wait()


def test_nothing_listens_beyond_loopback_and_no_java_is_left(finished):
    assert finished.addresses, "it should have listened somewhere"
    assert finished.addresses <= LOOPBACK
    assert len(finished.java) >= 2, "H2O's and Spark's"
    assert not [process for process in finished.java if process.is_running()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["h2o", "spark"])
def test_java_ends_with_its_step_however_that_ends(start, engine, how):
    step = start(engine)
    java = wait_for(lambda: java_of(step.outer), 60)
    time.sleep(1)
    python = named(step.outer, f"-m steps.train_{engine}")[0]
    python.send_signal(how)
    wait_for(lambda: not any(process.is_running() for process in java), 20)


def test_nothing_is_left_when_mlflow_itself_is_killed(start):
    step = start("h2o")
    java = wait_for(lambda: java_of(step.outer), 60)
    everyone = family(step.outer)[1:]
    step.popen.kill()
    wait_for(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)


AT_WORK = {"h2o": "H2O AutoML trains", "spark": "Spark fits"}


@pytest.mark.parametrize("engine", AT_WORK)
def test_an_engine_that_dies_is_said_to_have_died(workspace, start, engine):
    step = start(engine)
    wait_for(lambda: AT_WORK[engine] in step.output, 60)
    time.sleep(2)
    for process in java_of(step.outer):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert step.wait() != 0
    (run, *_) = workspace.runs(f"attributes.run_name = 'train_{engine}'")
    assert run.info.status == "FAILED"
    assert "ended while it worked" in run.data.tags["error"]


def terminate(outer: psutil.Process) -> None:
    named(outer, "-m steps.main")[0].terminate()


def press_ctrl_c(outer: psutil.Process) -> None:
    """A terminal sends the signal to all of its processes at once."""
    for member in family(outer):
        member.send_signal(signal.SIGINT)


@pytest.mark.parametrize("stop", [terminate, press_ctrl_c])
def test_an_interrupted_workflow_ends_all_it_started_and_is_marked(workspace, steps, stop):
    """MLflow's launcher marks the run as failed first; see `steps.pipeline.killed`."""
    before = {run.info.run_id for run in workspace.runs()}
    running = workspace.start(data="sample", engines="h2o", profile="quick", seed="7")
    java = wait_for(lambda: java_of(running.outer), 120)
    wait_for(lambda: "H2O AutoML trains" in running.output, 120)
    time.sleep(1)  # H2O's client makes an error of its own of what comes while it asks for a job
    everyone = family(running.outer)
    stop(running.outer)
    running.wait()
    wait_for(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)

    def statuses() -> dict[str, str]:
        new = [run for run in workspace.runs() if run.info.run_id not in before]
        return {run.info.run_name: run.info.status for run in new}

    wait_for(lambda: statuses()["main"] == "KILLED", 20)
    assert statuses()["train_h2o"] == "KILLED"
    (training, *_) = workspace.runs("attributes.run_name = 'train_h2o'")
    assert "error" not in training.data.tags


CANCELLED = """
import os, signal
import mlflow
from steps.pipeline.step import step

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


def test_an_interrupt_that_a_library_made_an_error_of_is_one(tmp_path):
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
