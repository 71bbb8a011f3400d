"""What a step starts: nothing that others can reach, and nothing that outlives it."""

import signal
import subprocess
import time

import psutil
import pytest

from tests.conftest import MLFLOW, PROJECT

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.fixture
def start(workspace, steps):
    """Start a training step on the sample; return its process."""
    started = []

    def start(engine: str) -> psutil.Process:
        command = [MLFLOW, "run", str(PROJECT), "-e", f"train_{engine}", "--env-manager", "local"]
        data_run = steps["load_data"].info.run_id
        options = ["-P", f"data_run_id={data_run}", "-P", "profile=quick"]
        process = subprocess.Popen(
            [*command, *options],
            cwd=workspace.folder,
            env=workspace.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return psutil.Process(process.pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


def family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_for(condition, seconds: float):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")


def named(process: psutil.Process, part: str) -> list[psutil.Process]:
    found = []
    for member in family(process):
        try:
            if part in " ".join(member.cmdline()):
                found.append(member)
        except psutil.NoSuchProcess:
            continue
    return found


def java_of(process: psutil.Process) -> list[psutil.Process]:
    return [member for member in named(process, "java") if member.name() == "java"]


@pytest.mark.parametrize("engine", ["h2o", "spark"])
def test_nothing_listens_beyond_loopback_and_no_java_is_left(start, engine):
    step = start(engine)
    addresses, java = set(), set()
    while step.is_running() and step.status() != psutil.STATUS_ZOMBIE:
        for member in family(step):
            try:
                connections = member.net_connections("inet")
                java |= {member} if member.name() == "java" else set()
            except psutil.NoSuchProcess:
                continue
            addresses |= {c.laddr.ip for c in connections if c.status in ("LISTEN", "NONE")}
        time.sleep(0.2)
    assert step.wait() == 0
    assert addresses, "it should have listened somewhere"
    assert addresses <= LOOPBACK
    assert java
    assert not [process for process in java if process.is_running()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["h2o", "spark"])
def test_java_ends_with_its_step_however_that_ends(start, engine, how):
    step = start(engine)
    java = wait_for(lambda: java_of(step), 60)
    time.sleep(1)
    (python, *_) = named(step, f"steps.train_{engine}")
    for member in named(step, f"steps.train_{engine}"):
        if "python" in member.name():
            python = member
    python.send_signal(how)
    wait_for(lambda: not any(process.is_running() for process in java), 20)


def test_nothing_is_left_when_mlflow_itself_is_killed(start):
    step = start("h2o")
    java = wait_for(lambda: java_of(step), 60)
    everyone = family(step)[1:]
    step.kill()
    wait_for(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)


def test_a_terminated_workflow_ends_its_steps_and_is_marked(workspace, steps):
    before = {run.info.run_id for run in workspace.runs()}
    process = subprocess.Popen(
        [MLFLOW, "run", str(PROJECT), "--env-manager", "local", "-P", "data=sample"],
        cwd=workspace.folder,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    outer = psutil.Process(process.pid)
    java = wait_for(lambda: java_of(outer), 120)
    everyone = family(outer)
    main = next(member for member in named(outer, "steps.main") if "python" in member.name())
    main.send_signal(signal.SIGTERM)
    process.wait(60)
    wait_for(lambda: not any(member.is_running() for member in [*everyone, *java]), 30)
    runs = {r.info.run_name: r for r in workspace.runs() if r.info.run_id not in before}
    assert runs["train_h2o"].info.status in ("KILLED", "FAILED")
    assert runs["main"].info.status in ("KILLED", "FAILED")
