"""The whole workflow on the sample, run once for all tests that read its results."""

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from tests.support.processes import java_processes, process_tree
from tests.support.workspaces import Workspace


@dataclass(frozen=True)
class CompletedRun:
    """The output of the whole workflow, how many Java processes it started and left running, the
    local addresses on which its processes listened, its temporary folder, and its workspace.
    """

    output: str
    java_started: int
    java_left: int
    addresses: set[str]
    temporary_folder: Path
    workspace: Workspace


@pytest.fixture(scope="session")
def completed_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> CompletedRun:
    """The whole workflow on the sample, run once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "completed"
    file = folder / "run.pickle"
    with FileLock(f"{folder}.lock"):
        if not file.exists():
            folder.mkdir(exist_ok=True)
            file.write_bytes(pickle.dumps(run_workflow(Workspace(folder))))
    found: CompletedRun = pickle.loads(file.read_bytes())
    return found


def run_workflow(workspace: Workspace) -> CompletedRun:
    """Run the workflow behind a proxy that does not answer, in a temporary folder whose path has a
    blank and an umlaut.
    """
    temporary_folder = workspace.folder / "temporary für Läufe"
    temporary_folder.mkdir()
    environment = {"TMPDIR": str(temporary_folder)}
    environment |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    running = workspace.start(environment=environment, data="sample", profile="quick")
    java, addresses = set(), set()
    while running.popen.poll() is None:
        members = process_tree(running.outer)
        pids = {member.pid for member in members}
        java |= set(java_processes(running.outer))
        addresses |= {
            connection.laddr.ip
            for connection in psutil.net_connections("inet")
            if connection.pid in pids and connection.status in ("LISTEN", "NONE")
        }
        time.sleep(0.5)
    assert running.wait() == 0, running.output
    _, left = psutil.wait_procs(java, timeout=10)
    return CompletedRun(
        running.output, len(java), len(left), addresses, temporary_folder, workspace
    )


@pytest.fixture(scope="session")
def workspace(completed_run: CompletedRun, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The runs and models of the completed run, in a workspace of this worker."""
    return completed_run.workspace.copy(tmp_path_factory.mktemp("workspace"))


@pytest.fixture
def workspace_copy(completed_run: CompletedRun, tmp_path: Path) -> Workspace:
    """The runs and models of the completed run, for a test that changes them."""
    return completed_run.workspace.copy(tmp_path / "workspace")


@pytest.fixture(scope="session")
def main_run(workspace: Workspace) -> Any:
    return workspace.runs("attributes.run_name = 'main'")[-1]  # newest first


@pytest.fixture(scope="session")
def step_runs(workspace: Workspace, main_run: Any) -> dict[str, Any]:
    """The runs of the steps by name."""
    return {run.info.run_name: run for run in workspace.children(main_run.info.run_id)}


@pytest.fixture(scope="session")
def engine_champion(workspace: Workspace, step_runs: dict[str, Any]) -> Callable[[str], str]:
    """A function that promotes the best candidate of an engine and returns the model's name."""

    def make(engine: str) -> str:
        name = f"champion-of-{engine}"
        if not workspace.client.search_registered_models(f"name = '{name}'"):
            done = workspace.run_step(
                "select_champion",
                data_run_id=step_runs["load_data"].info.run_id,
                training_run_ids=step_runs[f"train_{engine}"].info.run_id,
                model_name=name,
                refit="false",
            )
            assert done.returncode == 0, done.stderr
        return name

    return make
