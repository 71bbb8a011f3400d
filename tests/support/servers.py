"""Servers as processes of their own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import requests

from steps.runtime.ports import START_ATTEMPTS, free_port
from tests.support.waiting import wait_until
from tests.support.workspaces import MLFLOW, Workspace


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
def mlflow_server(
    workspace: Workspace, model: str, *options: str, manager: str = "local", **extra: str
) -> Iterator[Server]:
    """Serve the champion `model` with MLflow's own server."""
    command = [MLFLOW, "models", "serve", "-m", f"models:/{model}@champion"]
    options = ("-p", "{port}", "--env-manager", manager, *options)
    with started_server("serve", workspace, [*command, *options], "/ping", **extra) as server:
        yield server


@contextmanager
def started_server(
    name: str, workspace: Workspace, command: list[str], path: str, **extra: str
) -> Iterator[Server]:
    """Run a server at a free {port}, in a process group of its own, until `path` answers.

    Its output goes to NAME-PORT.log in the workspace's folder.
    """
    server: Server
    try:
        for attempt in range(START_ATTEMPTS):
            server = start_server(name, workspace, command, **extra)
            try:
                wait_until_up(server, path)
                break
            except AssertionError:
                taken = "address already in use" in server.output.read_text().lower()
                if not taken or attempt == START_ATTEMPTS - 1:
                    raise
        yield server
    finally:
        with suppress(ProcessLookupError):  # a test ended it
            server.kill()


def start_server(name: str, workspace: Workspace, command: list[str], **extra: str) -> Server:
    """Start a server at a port that is free now."""
    port = free_port()
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
    return Server(process, f"http://127.0.0.1:{port}", output)


def wait_until_up(server: Server, path: str, seconds: float = 300) -> None:
    """Wait until `path` answers; fail with the server's output if its process ends before."""

    def answers() -> bool:
        if server.process.poll() is not None:
            raise AssertionError(f"the server did not start:\n{server.output.read_text()}")
        return responds(f"{server.url}{path}")

    wait_until(answers, seconds)


def responds(url: str) -> bool:
    """Return whether `url` answers without an error."""
    try:
        return requests.get(url, timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
