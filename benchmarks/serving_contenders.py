"""Servers of the serving benchmark: their commands, and how they are started."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import psutil
import requests
import sqlalchemy as sa

from serving.settings import REGISTERED
from steps.runtime.ports import START_ATTEMPTS, free_port

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# MLflow starts the first `python` and `uvicorn` that it finds.
SEARCH_PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
START_TIMEOUT_SECONDS = 120
PORT_TAKEN = "address already in use"
MINIMAL = "FastAPI and onnxruntime, no log"
MLFLOW = "`mlflow models serve`, no log"
MLFLOW_WITH_LOG = "`mlflow models serve`, with this log"
SQLITE, POSTGRESQL = "this service, SQLite", "this service, PostgreSQL"
SHADOW = "this service, SQLite, a challenger in the shadow"
MOJO = "this service, SQLite, MOJO"
BENTOML = "BentoML with its monitoring (no fsync)"


@dataclass(frozen=True)
class Contender:
    """A server of the benchmark.

    Attributes:
        name: label in the table.
        command: command to start it; `{port}` is replaced.
        route: route that predicts.
        form: form of the request body, a key of `write_bodies`.
        environment: variables of the process; `{sqlite}` is replaced by the URL of an empty log.
    """

    name: str
    command: Sequence[str]
    route: str
    form: str
    environment: dict[str, str] = field(default_factory=dict)


def all_contenders(
    folder: Path, onnx_uri: str, mojo_uri: str | None, postgresql_uri: str
) -> list[Contender]:
    """Return the contenders that this machine can run."""
    scorer = mlflow.artifacts.download_artifacts(onnx_uri, dst_path=str(folder / "onnx"))
    scorer += "/artifacts/scorer"
    minimal = _uvicorn("benchmarks.fastapi_onnxruntime:app")
    contenders = [
        Contender(MINIMAL, minimal, "/predict", "columns", {"SCORER": scorer}),
        _mlflow_server(MLFLOW, onnx_uri, {"PREDICTION_LOG": "off"}),
        _mlflow_server(MLFLOW_WITH_LOG, onnx_uri, {"PREDICTION_LOG_URI": "{sqlite}"}),
        _this_service(SQLITE, onnx_uri, "{sqlite}"),
        _this_service(POSTGRESQL, onnx_uri, postgresql_uri),
    ]
    if REGISTERED.fullmatch(onnx_uri):
        # The same model, but for the service another than the registered version.
        model = str(Path(scorer).parents[1])
        contenders.append(_this_service(SHADOW, model, "{sqlite}", MLPIPES_SHADOW=onnx_uri))
    if mojo_uri:
        contenders.append(_this_service(MOJO, mojo_uri, "{sqlite}"))
    if bentoml := _install_bentoml(folder):
        contenders.append(_bentoml_server(bentoml, folder, scorer))
    return contenders


def _uvicorn(app: str) -> Sequence[str]:
    return (str(BIN / "uvicorn"), "--no-access-log", "--port", "{port}", app)


def _this_service(name: str, model_uri: str, log_uri: str, **others: str) -> Contender:
    environment = {"MLPIPES_MODEL_URI": model_uri, "PREDICTION_LOG_URI": log_uri} | others
    return Contender(name, _uvicorn("serving.app:app"), "/predict", "columns", environment)


def _mlflow_server(name: str, model_uri: str, environment: dict[str, str]) -> Contender:
    command = ("models", "serve", "-m", model_uri, "-p", "{port}", "--env-manager", "local")
    return Contender(name, (str(BIN / "mlflow"), *command), "/invocations", "split", environment)


def _bentoml_server(bentoml: str, folder: Path, scorer: str) -> Contender:
    directory = folder / "bentoml-service"  # BentoML writes its monitoring beside the code
    directory.mkdir()
    shutil.copy(PROJECT / "benchmarks" / "bentoml_service.py", directory)
    command = ("serve", "bentoml_service:Fraud", "--port", "{port}", "--working-dir")
    environment = {"SCORER": scorer, "BENTOML_DO_NOT_TRACK": "true", "ORT_DISABLE_TELEMETRY": "1"}
    return Contender(BENTOML, (bentoml, *command, str(directory)), "/predict", "bento", environment)


def _install_bentoml(folder: Path) -> str | None:
    """Install BentoML into a new environment and return its command; None if that fails."""
    uv = shutil.which("uv") or str(BIN / "uv")
    python = folder / "bentoml" / "bin" / "python"
    packages = ("bentoml==1.4.*", "onnxruntime", "numpy")
    for command in (
        (uv, "venv", "--quiet", "--python", sys.executable, str(folder / "bentoml")),
        (uv, "pip", "install", "--quiet", "--python", str(python), *packages),
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"skipping BentoML, which cannot be installed: {done.stderr}", file=sys.stderr)
            return None
    return str(python.with_name("bentoml"))


def write_bodies(folder: Path, row_counts: Sequence[int]) -> dict[tuple[str, int], Path]:
    """Write request bodies with real rows; return their files by form and number of rows."""
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    features = sample.drop(columns=["Time", "Class"])
    files = {}
    for rows in row_counts:
        frame = features.head(rows)
        columns: dict[str, Any] = frame.to_dict("list")
        bodies = {
            "columns": columns,
            "split": {"dataframe_split": frame.to_dict("split")},
            "bento": {"columns": columns},
        }
        for form, body in bodies.items():
            files[form, rows] = folder / f"{form}-{rows}.json"
            files[form, rows].write_text(json.dumps(body))
    return files


@contextmanager
def running(contender: Contender, folder: Path) -> Iterator[str]:
    """Run a contender with an empty prediction log; yield its URL."""
    with ExitStack() as stack:
        yield _start(stack, contender, folder)


def _start(stack: ExitStack, contender: Contender, folder: Path) -> str:
    """Start a contender that ends with `stack`, and return its URL."""
    attempts = START_ATTEMPTS
    while True:
        attempts -= 1
        port = free_port()
        try:
            stack.enter_context(_running_at(port, contender, folder))
        except RuntimeError as error:
            if attempts and PORT_TAKEN in str(error).lower():
                continue
            raise
        return f"http://127.0.0.1:{port}"


@contextmanager
def _running_at(port: int, contender: Contender, folder: Path) -> Iterator[None]:
    directory = Path(tempfile.mkdtemp(dir=folder))
    values = {"port": port, "sqlite": f"sqlite:///{directory}/predictions.db"}
    environment = {key: value.format(**values) for key, value in contender.environment.items()}
    if environment.get("PREDICTION_LOG_URI", "").startswith("postgresql"):
        _empty_database(environment["PREDICTION_LOG_URI"])
    project = {
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
        "PYTHONPATH": str(PROJECT),
        "MLPIPES_SPOOL": str(directory / "spool"),
        "PATH": SEARCH_PATH,
    }
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [part.format(**values) for part in contender.command],
            cwd=directory,
            env=os.environ | project | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for_response(process, port, directory / "output")
        yield
    finally:
        _kill(process)
        shutil.rmtree(directory)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a server with its group, and its workers that have groups of their own, as BentoML's."""
    workers: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it has failed
        workers = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    process.wait()


def _empty_database(uri: str) -> None:
    engine = sa.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()


def _wait_for_response(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the server did not start:\n{output.read_text()}")
