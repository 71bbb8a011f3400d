"""Workspaces: folders with MLflow stores of their own, and the runs in them."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import psutil
from mlflow import MlflowClient

from steps.runtime.mlproject import entry_points, module_of
from tests.support.project import PROJECT

MLFLOW = str(Path(sys.executable).with_name("mlflow"))


def run_arguments(entry_point: str, parameters: dict[str, str]) -> list[str]:
    """Return the arguments of `mlflow` that run an entry point of this project."""
    options = [part for k, v in parameters.items() for part in ("-P", f"{k}={v}")]
    return ["run", str(PROJECT), "-e", entry_point, "--env-manager", "local", *options]


def step_command(entry_point: str, parameters: dict[str, str]) -> list[str]:
    """Return the command of a step's module, with the defaults of MLproject."""
    return [sys.executable, "-m", module_of(entry_point), *step_options(entry_point, parameters)]


def step_options(entry_point: str, parameters: dict[str, str]) -> list[str]:
    """Return the options of a step, with the defaults of MLproject."""
    declared = entry_points()[entry_point]["parameters"]
    given = {name: parameters.get(name, d.get("default", "none")) for name, d in declared.items()}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Workspace:
    """A folder with MLflow's default stores, as `mlflow run` leaves it."""

    folder: Path

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a user without Java or settings of MLflow."""
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

    def run_step(self, entry_point: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        """Run a step's module without MLflow's launcher, which takes seconds of its own.

        Its run has no parameters, as these are logged by the launcher.
        """
        return subprocess.run(
            step_command(entry_point, parameters),
            cwd=self.folder,
            env=self.step_environment(),
            capture_output=True,
            text=True,
        )

    def step_environment(self) -> dict[str, str]:
        return self.environment(MLFLOW_TRACKING_URI=self.tracking_uri, PYTHONPATH=str(PROJECT))

    def start_step(self, entry_point: str, **parameters: str) -> "BackgroundRun":
        """Start a step's module without MLflow's launcher."""
        command = step_command(entry_point, parameters)
        return self._start(entry_point, command, self.step_environment())

    def start(
        self,
        entry_point: str = "main",
        environment: dict[str, str] | None = None,
        **parameters: str,
    ) -> "BackgroundRun":
        command = [MLFLOW, *run_arguments(entry_point, parameters)]
        return self._start(entry_point, command, self.environment(**environment or {}))

    def _start(
        self, entry_point: str, command: list[str], environment: dict[str, str]
    ) -> "BackgroundRun":
        file, output = tempfile.mkstemp(".log", entry_point, self.folder)
        with os.fdopen(file, "wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return BackgroundRun(psutil.Process(process.pid), process, Path(output))

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri)

    def copy(self, folder: Path) -> "Workspace":
        """Return a workspace in `folder` with all runs and models of this one.

        The tracking store is a copy, the artifacts so far are the same files.
        """
        folder.mkdir(exist_ok=True)
        with (
            closing(sqlite3.connect(self.folder / "mlflow.db")) as source,
            closing(sqlite3.connect(folder / "mlflow.db")) as target,
        ):
            source.backup(target)
            with target:
                target.execute(
                    "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
                    (str(self.folder), str(folder)),
                )
        return Workspace(folder)

    def copy_artifacts(self, run_id: str) -> Path:
        """Give a run a copy of its artifacts in this folder, and return it."""
        folder = self.folder / "artifacts" / run_id
        shutil.copytree(urlsplit(self.client.get_run(run_id).info.artifact_uri).path, folder)
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as store, store:
            store.execute(
                "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (str(folder), run_id)
            )
        return folder

    def runs(self, filter_string: str = "") -> list[Any]:
        return list(self.client.search_runs(["0"], filter_string))

    def children(self, run_id: str) -> list[Any]:
        return self.runs(f"tags.`mlflow.parentRunId` = '{run_id}'")


@dataclass(frozen=True)
class BackgroundRun:
    """An entry point that runs in the background; its output goes to a file."""

    outer: psutil.Process
    popen: subprocess.Popen[bytes]
    file: Path

    @property
    def output(self) -> str:
        return self.file.read_text(errors="replace")

    def wait(self, seconds: float = 120) -> int:
        return self.popen.wait(seconds)


@contextmanager
def tracking_in(workspace: Workspace) -> Iterator[None]:
    """Point MLflow's functions in this process at a workspace, its registry included."""
    mlflow.set_tracking_uri(workspace.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)


def repeatable_metrics(run: Any) -> dict[str, float]:
    """Return the metrics of a run except its durations."""
    return {n: value for n, value in run.data.metrics.items() if not n.startswith("seconds_")}


def reused_steps(output: str) -> set[str]:
    """Return the steps that a run reports as reused."""
    return {line.split(":")[0] for line in output.splitlines() if "unchanged; reusing run" in line}


def select(workspace, step_runs, engines: str, **parameters: str):
    """Run `select_champion` for the candidates of `engines`, without a refit."""
    training_runs = [step_runs[f"train_{engine}"].info.run_id for engine in engines.split(",")]
    return workspace.run(
        "select_champion",
        data_run_id=step_runs["load_data"].info.run_id,
        training_run_ids=",".join(training_runs),
        refit="false",
        **parameters,
    )


def monitoring_runs(workspace, model_name):
    experiment = workspace.client.get_experiment_by_name(f"{model_name} monitoring")
    return workspace.client.search_runs([experiment.experiment_id])  # newest first
