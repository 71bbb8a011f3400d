"""The service: in this process with a tiny model, or as a process of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.settings import ServiceSettings
from tests.support.project import PROJECT
from tests.support.servers import Server, started_server
from tests.support.workspaces import Workspace

UVICORN = str(Path(sys.executable).with_name("uvicorn"))


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The prediction log of the service in this process."""
    monkeypatch.setenv("PREDICTION_LOG_URI", f"sqlite:///{tmp_path}/predictions.db")
    monkeypatch.setenv("MLPIPES_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "predictions.db"


@pytest.fixture
def client(tiny_model: Path, database: Path) -> Iterator[TestClient]:
    """A client of the service in this process, with the tiny model."""
    with service_in_process(tiny_model) as client:
        yield client


@pytest.fixture
def mixed_client(mixed_model: Path, database: Path) -> Iterator[TestClient]:
    """A client of the service in this process, with the mixed model."""
    with service_in_process(mixed_model) as client:
        yield client


@contextmanager
def service_in_process(model: Path, **settings: Any) -> Iterator[TestClient]:
    settings = {"hosts": "testserver"} | settings
    app = create_app(ServiceSettings(model_uri=str(model), **settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def behind_prefix(client: TestClient, prefix: str = "/scores") -> TestClient:
    """Return a client of the same service behind a proxy that serves it below a path."""
    return TestClient(client.app, root_path=prefix, raise_server_exceptions=False)


@dataclass(frozen=True)
class ServingWorkspace(Workspace):
    """A folder to serve in, with the registry of another workspace."""

    registry: Workspace

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of a user with this registry."""
        return super().environment(**{"MLFLOW_TRACKING_URI": self.registry.tracking_uri} | extra)

    @property
    def database(self) -> Path:
        """The prediction log of the servers in this folder."""
        return self.folder / "predictions.db"


@pytest.fixture
def serving_workspace(workspace: Workspace, completed_run: Any, tmp_path: Path) -> ServingWorkspace:
    """A new folder to serve the models of the completed run in."""
    return ServingWorkspace(tmp_path, workspace)


@pytest.fixture(scope="session")
def shared_service(
    workspace: Workspace, completed_run: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The service with the champion of the completed run, for tests that do not change it."""
    with service_process(ServingWorkspace(tmp_path_factory.mktemp("running"), workspace)) as server:
        yield server


@contextmanager
def service_process(workspace: Workspace, *options: str, **extra: str) -> Iterator[Server]:
    """Run the service as a process, as `make serve` does."""
    command = [UVICORN, "serving.app:app", "--port", "{port}", "--no-access-log", *options]
    extra = {"PYTHONPATH": str(PROJECT)} | extra
    with started_server("service", workspace, command, "/health/live", **extra) as server:
        yield server
