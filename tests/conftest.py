import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
import requests
from mlflow import MlflowClient

pytest_plugins = ["tests.log_fixtures", "tests.service_fixtures"]

PROJECT = Path(__file__).resolve().parents[1]
MLFLOW = str(Path(sys.executable).with_name("mlflow"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: what they find need not wait for servers and engines."""
    items.sort(key=lambda item: item.get_closest_marker("quick") is None)


@pytest.fixture
def table() -> pd.DataFrame:
    """A small table with a time column, two features and repeated positives."""
    random = np.random.default_rng(7)
    rows = 400
    target = (np.arange(rows) % 10 == 0).astype("int64")
    return pd.DataFrame(
        {
            "Time": np.arange(rows, dtype="float64"),
            "V1": random.normal(size=rows) + 2 * target,
            "V2": random.normal(size=rows),
            "Class": target,
        }
    )


def run_arguments(entry_point: str, parameters: dict[str, str]) -> list[str]:
    """Return what follows `mlflow` to run an entry point of this project."""
    options = [part for k, v in parameters.items() for part in ("-P", f"{k}={v}")]
    return ["run", str(PROJECT), "-e", entry_point, "--env-manager", "local", *options]


@dataclass(frozen=True)
class Workspace:
    """A folder with MLflow's default stores, as a user has after `mlflow run`."""

    folder: Path

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def environment(self, **extra: str) -> dict[str, str]:
        """What a user's shell has: no Java but ours, and none of MLflow's settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "JAVA_"))}
        pythons = [Path(sys.executable).parent, Path(sys.executable).resolve().parent]
        path = os.pathsep.join([*map(str, pythons), "/usr/bin", "/bin"])
        return kept | {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": path} | extra

    def mlflow(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MLFLOW, *arguments],
            cwd=self.folder,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
        )

    def run(self, entry_point: str = "main", **parameters: str) -> subprocess.CompletedProcess[str]:
        return self.mlflow(*run_arguments(entry_point, parameters))

    def start(self, entry_point: str = "main", **parameters: str) -> "Running":
        file, output = tempfile.mkstemp(".log", entry_point, self.folder)
        with os.fdopen(file, "wb") as stream:
            process = subprocess.Popen(
                [MLFLOW, *run_arguments(entry_point, parameters)],
                cwd=self.folder,
                env=self.environment(),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return Running(psutil.Process(process.pid), process, Path(output))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri)

    def runs(self, filter_string: str = "") -> list[Any]:
        return list(self.client.search_runs(["0"], filter_string))

    def children(self, run_id: str) -> list[Any]:
        return self.runs(f"tags.`mlflow.parentRunId` = '{run_id}'")


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace that the finished run leaves."""
    return Workspace(tmp_path_factory.mktemp("workspace"))


@contextmanager
def tracked(workspace: Workspace) -> Iterator[None]:
    """Point MLflow's functions in this process at a workspace, its registry included."""
    mlflow.set_tracking_uri(workspace.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


@dataclass(frozen=True)
class Finished:
    """What was seen of the whole workflow on the sample: its output, the Java processes that it
    started, and the local addresses at which any of its processes could be reached.
    """

    output: str
    java: set[psutil.Process]
    addresses: set[str]


@pytest.fixture(scope="session")
def finished(workspace: Workspace) -> Finished:
    """The whole workflow on the sample, run once for all tests that look at what it left."""
    running = workspace.start(data="sample", profile="quick")
    java, addresses = set(), set()
    while running.popen.poll() is None:
        members = family(running.outer)
        pids = {member.pid for member in members}
        java |= set(java_of(running.outer))
        addresses |= {
            connection.laddr.ip
            for connection in psutil.net_connections("inet")
            if connection.pid in pids and connection.status in ("LISTEN", "NONE")
        }
        time.sleep(0.5)
    assert running.wait() == 0, running.output
    return Finished(running.output, java, addresses)


@pytest.fixture(scope="session")
def main_run(workspace: Workspace, finished: Finished) -> Any:
    return workspace.runs("attributes.run_name = 'main'")[-1]  # newest first


@pytest.fixture(scope="session")
def steps(workspace: Workspace, main_run: Any) -> dict[str, Any]:
    """The runs of the steps by name."""
    return {run.info.run_name: run for run in workspace.children(main_run.info.run_id)}


@pytest.fixture(scope="session")
def champion_of(workspace: Workspace, steps: dict[str, Any]) -> Callable[[str], str]:
    """Make a champion out of the candidates of one engine; return its model's name."""

    def make(engine: str) -> str:
        name = f"champion-of-{engine}"
        if not workspace.client.search_registered_models(f"name = '{name}'"):
            done = workspace.run(
                "select_champion",
                data_run_id=steps["load_data"].info.run_id,
                training_run_ids=steps[f"train_{engine}"].info.run_id,
                model_name=name,
                refit="false",
            )
            assert done.returncode == 0, done.stderr
        return name

    return make


@dataclass
class Server:
    """A running `mlflow models serve`."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def post(self, payload: Any, timeout: float = 60) -> requests.Response:
        return requests.post(f"{self.url}/invocations", json=payload, timeout=timeout)

    def predict(self, rows: pd.DataFrame, request_id: str | None = None) -> list[dict[str, Any]]:
        as_json = rows.astype(object).where(rows.notna(), None)  # JSON knows no NaN
        payload: dict[str, Any] = {"dataframe_split": as_json.to_dict("split")}
        if request_id:
            payload["params"] = {"request_id": request_id}
        response = self.post(payload)
        assert response.status_code == 200, response.text
        predictions: list[dict[str, Any]] = response.json()["predictions"]
        return predictions

    def kill(self) -> None:
        """Kill the whole process group at once: the wrapper, the server and its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(
    workspace: Workspace, model: str, *options: str, manager: str = "local", **extra: str
) -> Iterator[Server]:
    """Serve the champion `model` with MLflow's own server."""
    command = [MLFLOW, "models", "serve", "-m", f"models:/{model}@champion"]
    options = ("-p", "{port}", "--env-manager", manager, *options)
    with started("serve", workspace, [*command, *options], "/ping", **extra) as server:
        yield server


@contextmanager
def started(
    name: str, workspace: Workspace, command: list[str], path: str, **extra: str
) -> Iterator[Server]:
    """Run a server at a free {port}, in a process group of its own, until `path` answers.

    Its output goes to NAME-PORT.log in the workspace's folder.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = workspace.folder / f"{name}-{port}.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [part.replace("{port}", str(port)) for part in command],
            cwd=workspace.folder,
            env=workspace.environment(**extra),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, f"http://127.0.0.1:{port}", output)
    try:
        wait_until_up(server, path)
        yield server
    finally:
        with suppress(ProcessLookupError):  # a test ended it
            server.kill()


def wait_until_up(server: Server, path: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if requests.get(f"{server.url}{path}", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{server.output.read_text()}")


@dataclass(frozen=True)
class Running:
    """An entry point that runs beside the test; its output goes to a file."""

    outer: psutil.Process
    popen: subprocess.Popen[bytes]
    file: Path

    @property
    def output(self) -> str:
        return self.file.read_text(errors="replace")

    def wait(self, seconds: float = 120) -> int:
        return self.popen.wait(seconds)


def measured(run: Any) -> dict[str, float]:
    """Return the metrics of a run, without how long it took."""
    return {n: value for n, value in run.data.metrics.items() if not n.startswith("seconds_")}


def stands(output: str) -> set[str]:
    """Return the steps that a run reused, as it says."""
    return {line.split(":")[0] for line in output.splitlines() if "nothing changed, run" in line}


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return `process` and all below it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def named(process: psutil.Process, part: str) -> list[psutil.Process]:
    """Return the Python and Java processes below `process` with `part` in their command."""
    found = []
    for member in family(process):
        try:
            if part in " ".join(member.cmdline()) and member.name().startswith(("python", "java")):
                found.append(member)
        except psutil.NoSuchProcess:
            continue
    return found


def java_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the Java processes below `process`."""
    return [member for member in named(process, "java") if member.name() == "java"]


def wait_for(condition: Callable[[], Any], seconds: float) -> Any:
    """Return what `condition` gives as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")


def logged(database: Path) -> list[dict[str, Any]]:
    """Return all rows of the prediction log in `database`."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    try:
        found = connection.execute("SELECT * FROM predictions ORDER BY prediction_id").fetchall()
    finally:
        connection.close()
    return [dict(row) for row in found]
