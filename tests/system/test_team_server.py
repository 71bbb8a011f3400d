"""Tracking server with passwords on PostgreSQL, and artifacts in object storage."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
import requests
import sqlalchemy as sa
from mlflow import MlflowClient

from tests.support.project import PROJECT
from tests.support.servers import Server, started_server
from tests.support.service_fixtures import service_process
from tests.support.workspaces import MLFLOW, Workspace

NAME, PASSWORD = "team", "a-long-password"
BUCKET = "team-artifacts"
AWS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
MODEL = "credit-card-fraud"


@dataclass(frozen=True)
class TeamWorkspace(Workspace):
    """A member of the team: nothing on this machine but the address and the password."""

    uri: str

    @property
    def tracking_uri(self) -> str:
        return self.uri

    def environment(self, **extra: str) -> dict[str, str]:
        credentials = {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": NAME,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        }
        return super().environment(**credentials | extra)


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[str]:
    """The URL of an S3 server with an empty bucket."""
    place = Workspace(tmp_path_factory.mktemp("storage"))
    command = [str(Path(sys.executable).with_name("moto_server")), "-p", "{port}"]
    with started_server("s3", place, command, "/moto-api/") as server:
        client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket=BUCKET)
        yield server.url


@contextmanager
def tracking_server(folder: Path, store: str, storage: str) -> Iterator[Server]:
    """MLflow's server with basic authentication; it alone knows database and object storage."""
    users = folder / "auth.ini"
    users.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{folder}/users.db\n"
        f"admin_username = {NAME}\nadmin_password = {PASSWORD}\n"
        "auth_cache_ttl_seconds = 60\n"  # else each request hashes the password anew
    )
    command = [
        MLFLOW, "server", "--port", "{port}", "--app-name", "basic-auth", "--workers", "1",
        "--backend-store-uri", store, "--artifacts-destination", f"s3://{BUCKET}/runs",
    ]  # fmt: skip
    settings = AWS | {
        "MLFLOW_S3_ENDPOINT_URL": storage,
        "MLFLOW_AUTH_CONFIG_PATH": str(users),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-of-the-pages",
    }
    with started_server("mlflow", Workspace(folder), command, "/health", **settings) as server:
        yield server


@pytest.fixture(scope="module")
def team_workspace(tmp_path_factory, postgres, storage) -> Iterator[TeamWorkspace]:
    engine = sa.create_engine(
        postgres.get_uri().replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE tracking"))
    store = engine.url.set(database="tracking").render_as_string(hide_password=False)
    engine.dispose()
    with tracking_server(tmp_path_factory.mktemp("server"), store, storage) as server:
        yield TeamWorkspace(tmp_path_factory.mktemp("member"), server.url)


@pytest.fixture
def client(team_workspace, monkeypatch) -> MlflowClient:
    for name, value in team_workspace.environment().items():
        if name.startswith("MLFLOW_"):
            monkeypatch.setenv(name, value)
    return MlflowClient(team_workspace.uri)


def test_server_requires_password(team_workspace):
    refused = requests.post(
        f"{team_workspace.uri}/api/2.0/mlflow/experiments/search", json={}, timeout=10
    )
    assert refused.status_code == 401
    done = team_workspace.mlflow("experiments", "search", MLFLOW_TRACKING_PASSWORD="wrong")
    assert done.returncode != 0


def assert_nothing_is_local(team: TeamWorkspace, client: MlflowClient) -> None:
    assert not list(team.folder.glob("ml*")), "nothing stays on this machine"
    runs = client.search_runs(["0"])
    assert len(runs) > 5
    for run in runs:
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        for dataset in run.inputs.dataset_inputs:
            assert "/tmp" not in dataset.dataset.source
        noted = {**run.data.params, **run.data.tags}
        for name in set(noted) - {"mlflow.source.name", "mlflow.project.backend"}:
            assert str(team.folder) not in noted[name]
            assert "/tmp/" not in noted[name], name


@pytest.mark.slow
def test_all_engines_run_on_team_server(team_workspace, client):
    done = team_workspace.run(data="sample", profile="quick", model_name="of-all-engines")
    assert done.returncode == 0, done.stderr
    assert_nothing_is_local(team_workspace, client)
    board = {line.split()[1] for line in done.stderr.splitlines() if " to 0." in line}
    assert board >= {"h2o", "pycaret", "spark"}
    client.get_model_version_by_alias("of-all-engines", "champion")


def test_workflow_and_service_run_on_team_server(team_workspace, client, storage, postgres_uri):
    done = team_workspace.run(data="sample", profile="quick", engines="pycaret")
    assert done.returncode == 0, done.stderr
    assert_nothing_is_local(team_workspace, client)
    version = client.get_model_version_by_alias(MODEL, "champion")
    assert version.tags["engine"] == "pycaret"
    with service_process(team_workspace, PREDICTION_LOG_URI=postgres_uri) as server:
        example = requests.get(f"{server.url}/model", timeout=10).json()
        rows = {feature["name"]: [0.0, 1.0] for feature in example["features"]}
        answer = requests.post(f"{server.url}/predict", json=rows, timeout=10)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == {"name": MODEL, "version": str(version.version)}
    stored = pd.read_sql("select * from predictions", sa.create_engine(psycopg(postgres_uri)))
    assert len(stored) == 2
    watched = team_workspace.run("monitor", log_uri=postgres_uri)
    assert watched.returncode == 0, watched.stderr
    assert "2 predictions: drift unknown" in watched.stderr


def psycopg(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg://")


def test_artifacts_in_object_storage_without_proxy(tmp_path, storage):
    """Credentials come from the environment only."""
    direct: dict[str, Any] = AWS | {
        "MLFLOW_S3_ENDPOINT_URL": storage,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    place = Workspace(tmp_path)
    made = place.mlflow(
        "experiments", "create", "-n", "direct", "-l", f"s3://{BUCKET}/direct", **direct
    )
    assert made.returncode == 0, made.stderr
    arguments = ["-e", "load_data", "--env-manager", "local", "-P", "data=sample"]
    project = str(PROJECT)
    done = place.mlflow("run", project, "--experiment-name", "direct", *arguments, **direct)
    assert done.returncode == 0, done.stderr
    (run,) = place.client.search_runs([place.client.get_experiment_by_name("direct").experiment_id])
    assert run.info.artifact_uri.startswith(f"s3://{BUCKET}/direct/")
    keys = boto3.client(
        "s3", endpoint_url=storage, aws_access_key_id="key", aws_secret_access_key="secret",
        region_name="us-east-1",
    ).list_objects_v2(Bucket=BUCKET, Prefix="direct/")["Contents"]  # fmt: skip
    assert any(key["Key"].endswith("splits/training.parquet") for key in keys)
