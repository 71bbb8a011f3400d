"""The service for tests: in this process around a tiny model, or as a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.scorer import Feature, Manifest
from serving.web.settings import Settings
from steps.pipeline.export import linear_graph, write_onnx
from tests.conftest import PROJECT, Server, Workspace, started

UVICORN = str(Path(sys.executable).with_name("uvicorn"))


def write_model(folder: Path) -> Path:
    """Write an MLflow model of two features; `gap` may be missing."""
    scorer = folder / "artifacts" / "scorer"
    scorer.mkdir(parents=True)
    fill = np.array([0.0, 0.5])
    write_onnx(linear_graph(np.array([2.0, -1.0]), 0.0), scorer, 2, fill=fill)
    features = (Feature("V1"), Feature("gap", nullable=True))
    Manifest("onnx", features, threshold=0.5).write(scorer)
    (folder / "MLmodel").write_text("run_id: abc\n")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service in this process logs."""
    monkeypatch.setenv("PREDICTION_LOG_URI", f"sqlite:///{tmp_path}/predictions.db")
    monkeypatch.setenv("MLPIPES_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "predictions.db"


@pytest.fixture
def client(tiny_model: Path, database: Path) -> Iterator[TestClient]:
    """The service around the tiny model, in this process."""
    with in_process(tiny_model) as client:
        yield client


@contextmanager
def in_process(model: Path, **settings: Any) -> Iterator[TestClient]:
    app = create_app(Settings(model_uri=str(model), **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@dataclass(frozen=True)
class Place(Workspace):
    """A folder to serve in; the registry is that of `of`."""

    of: Workspace

    def environment(self, **extra: str) -> dict[str, str]:
        """What a user's shell has, and where the registry is."""
        return super().environment(**{"MLFLOW_TRACKING_URI": self.of.tracking_uri} | extra)

    @property
    def database(self) -> Path:
        """The log of what is served in this folder."""
        return self.folder / "predictions.db"


@pytest.fixture
def place(workspace: Workspace, finished: Any, tmp_path: Path) -> Place:
    """A new folder to serve the finished run's models in."""
    return Place(tmp_path, workspace)


@pytest.fixture(scope="session")
def running(
    workspace: Workspace, finished: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service around the champion of the finished run, for tests that leave it as it is."""
    with service(Place(tmp_path_factory.mktemp("running"), workspace)) as server:
        yield server


@contextmanager
def service(workspace: Workspace, *options: str, **extra: str) -> Iterator[Server]:
    """Run the service as a process, as `make serve` does."""
    command = [UVICORN, "serving.app:app", "--port", "{port}", "--no-access-log", *options]
    extra = {"PYTHONPATH": str(PROJECT)} | extra
    with started("service", workspace, command, "/health/live", **extra) as server:
        yield server
