"""Training on existing clusters: Spark standalone, and H2O of two nodes."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyspark
import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from serving.model.java import use_java
from steps.runtime.errors import EngineError
from steps.runtime.ports import free_port
from steps.runtime.spark_session import spark_session
from tests.support.clusters import background_process, cluster_size, h2o_nodes
from tests.support.waiting import wait_until
from tests.support.workspaces import repeatable_metrics, run_arguments

SPARK = Path(pyspark.__file__).parent


def spark_command(kind: str, *arguments: str) -> list[str]:
    use_java()
    return [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]


@contextmanager
def spark_cluster(folder: Path, *around_worker: str, workers: int = 2) -> Iterator[str]:
    """A master and its workers, each a process of its own; give the master's URL."""
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    own = {"SPARK_WORKER_DIR": str(folder / "work"), "SPARK_LOCAL_IP": "127.0.0.1"}
    with ExitStack() as stack:
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--webui-port", str(free_port())]
        log = stack.enter_context(
            background_process(spark_command("master.Master", *arguments), folder, **own)
        )
        wait_until(lambda: "I have been elected leader" in log.read_text(), 60)
        for _ in range(workers):
            worker = spark_command("worker.Worker", url, "--cores", "1", "--memory", "1g", "--host",
                           "127.0.0.1", "--webui-port", str(free_port()))  # fmt: skip
            output = stack.enter_context(
                background_process([*around_worker, *worker], folder, **own)
            )
            wait_until(lambda o=output: "Successfully registered" in o.read_text(), 60)
        yield url


def train_on_cluster(
    workspace, steps, entry_point: str, environment: dict[str, str] | None = None, **cluster: str
) -> list[Any]:
    """Train on a cluster; return the candidates."""
    parameters = {"data_run_id": steps["load_data"].info.run_id, "profile": "quick"} | cluster
    done = workspace.mlflow(*run_arguments(entry_point, parameters), **environment or {})
    assert done.returncode == 0, done.stderr
    (run, *_) = workspace.runs(f"attributes.run_name = '{entry_point}'")
    return workspace.children(run.info.run_id)


def test_spark_cluster_without_worker_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("steps.runtime.spark_session.EXECUTOR_SECONDS", 1)
    with (
        spark_cluster(tmp_path, workers=0) as master,
        pytest.raises(EngineError) as error,
        spark_session(master, {}),
    ):
        raise AssertionError("there is nobody to work")
    reason = f"no worker of {master} had a free core and 1g of memory within 1 sec"
    assert reason in str(error.value)


@pytest.mark.slow
def test_every_spark_executor_is_checked():
    with spark_session("local-cluster[3,1,1024]", {"spark.default.parallelism": 1}) as spark:
        java: Any = spark.sparkContext._jsc
        executors = java.sc().statusStore().executorList(True)
        each = [executors.apply(place) for place in range(executors.size())]
        tasks = {one.id(): one.totalTasks() for one in each if one.id() != "driver"}
    assert len(tasks) == 3
    assert all(tasks.values()), tasks


@pytest.mark.slow
def test_spark_trains_on_standalone_cluster(workspace, step_runs, tmp_path):
    with spark_cluster(tmp_path) as master:
        candidates = train_on_cluster(workspace, step_runs, "train_spark", spark_master=master)
    assert len(candidates) == 4
    assert {candidate.data.tags["proven"] for candidate in candidates} == {"true"}


def hiding(*folders: Path) -> list[str]:
    """Return the beginning of a command that does not see these folders."""
    mounts = [f"mount -t tmpfs none {folder}" for folder in folders]
    return ["unshare", "--mount", "bash", "-c", " && ".join([*mounts, 'exec "$@"']), "-"]


@pytest.fixture
def hidden(tmp_path):
    """A temporary folder of the steps that workers do not see, and that of MLflow's models."""
    if os.geteuid() != 0:
        pytest.skip("only root can hide a folder from a process")
    folder, models = tmp_path / "hidden", Path("/tmp/mlflow")
    folder.mkdir()
    models.mkdir(exist_ok=True)
    return folder, models


def artifacts_of(run: Any) -> Path:
    return Path(local_file_uri_to_path(run.info.artifact_uri))


@pytest.mark.slow
def test_spark_workers_without_shared_folder_use_artifacts(workspace, step_runs, tmp_path, hidden):
    with spark_cluster(tmp_path, *hiding(*hidden)) as master:
        candidates = train_on_cluster(
            workspace, step_runs, "train_spark", {"TMPDIR": str(hidden[0])}, spark_master=master
        )
    here = workspace.children(step_runs["train_spark"].info.run_id)
    metrics = {run.info.run_name: repeatable_metrics(run) for run in candidates}
    assert metrics == {run.info.run_name: repeatable_metrics(run) for run in here}
    assert len(metrics) == 4
    for candidate in candidates:
        assert list(artifacts_of(candidate).glob("native/sparkml/stages/*/data/*.parquet"))
    (run, *_) = workspace.runs("attributes.run_name = 'train_spark'")
    assert "spark_files" not in {file.name for file in artifacts_of(run).iterdir()}
    assert "read the splits from file:///" in (artifacts_of(run) / "step.log").read_text()


@pytest.mark.slow
def test_spark_workers_without_any_shared_folder_are_one_line(
    workspace, step_runs, tmp_path, hidden
):
    parameters = {"data_run_id": step_runs["load_data"].info.run_id, "profile": "quick"}
    with spark_cluster(tmp_path, *hiding(hidden[0], workspace.folder)) as master:
        arguments = run_arguments("train_spark", parameters | {"spark_master": master})
        done = workspace.mlflow(*arguments, TMPDIR=str(hidden[0]))
    assert done.returncode != 0
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("ml-pipes: ")]
    assert f"the workers of {master} do not see {hidden[0]}: set TMPDIR" in line
    assert f"can read and write: they do not see {workspace.folder}" in line


@pytest.mark.slow
def test_h2o_trains_on_two_nodes(workspace, step_runs, tmp_path):
    with h2o_nodes(tmp_path, 2) as url:
        candidates = train_on_cluster(workspace, step_runs, "train_h2o", h2o_url=url)
        assert cluster_size(url) == 2, "the cluster of others goes on"
    assert {candidate.data.tags["proven"] for candidate in candidates} == {"true"}
