"""The closed loop in a few minutes: serve, drift, notice, train again, go on without a gap.

mlflow run . -e demo
mlflow run . -e demo -P clean=true

The first half of the real sample, in time order, trains a champion. The second half then comes
in as live traffic through the real service, with its labels some time later. From a certain row
on the world has changed: the features that give frauds away fade. `monitor` notices, trains
again, and the running service takes the new champion over while it answers.
"""

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import requests
import sqlalchemy as sa
from mlflow.exceptions import MlflowException

from serving.registry import is_absent
from serving.schema import connect, predictions
from steps.pipeline.errors import EngineError, ParameterError
from steps.pipeline.processes import tied_process
from steps.pipeline.registry import find_champion
from steps.pipeline.sources import read_source
from steps.pipeline.step import step
from steps.pipeline.workflow import run_step

log = logging.getLogger("ml-pipes")

MODEL = "demo-credit-card-fraud"
TARGET, TIME = "Class", "Time"
# What the folder holds, so that cleaning never removes anything else.
MARK = "made-by-ml-pipes-demo"
BATCH = 50
# While the loop trains again, some rows come at a time: all would last for twelve minutes, so that
# a slow machine has rows left for what comes after.
FEW, PAUSE = 2, 0.5
# Shares of the rows, in time order: training, traffic as it was, traffic that has changed; what
# is left comes in while the loop trains again, and after that.
TRAINING, AS_IT_WAS, CHANGED = 0.5, 0.6, 0.8
# From then on these features move towards the mean of the harmless rows, and others away.
FADING, FADE = ("V14", "V4", "V12", "V10", "V11", "V17", "V3"), 0.2
SHIFTED, SHIFT = ("V1", "V2", "V5", "V6", "V7", "V8", "V9", "V13", "V15", "V16"), 1.5
START_SECONDS = 60


@step
def demo(folder: str, clean: bool) -> None:
    """Play the scenario and check that no request was lost."""
    place = Path(folder).resolve()
    remove_earlier(place)
    if clean:
        log.info("removed what the demo had made; its runs stay in MLflow")
        return
    place.mkdir(parents=True)
    (place / MARK).touch()
    past, as_it_was, changed, later = divide(read_source("sample").to_pandas())
    log.info("1. A champion is trained on the first half of the sample")
    train(past, place)
    uri = f"sqlite:///{place}/predictions.db"
    with running_service(uri, place) as url:
        traffic = Traffic(url)
        log.info("2. Traffic comes in as it was; the outcomes follow")
        traffic.send(as_it_was)
        traffic.tell_outcomes(as_it_was)
        before = look(uri, len(as_it_was), retrain="never")
        log.info("3. The world changes: what gives frauds away fades")
        traffic.send(changed)
        traffic.tell_outcomes(changed)
        log.info("4. monitor looks again, and may train; traffic goes on meanwhile")
        stream = Traffic(url)
        with stream.going_on(later) as sender:
            noticed = look(uri, len(changed), retrain="auto")
            stream.wait_for(new_champion(noticed), sender)
        log.info("5. The new champion answers; the outcomes follow")
        after = later.iloc[stream.sent :]
        traffic.send(after)
        traffic.tell_outcomes(later)
        recovered = look(uri, len(after), retrain="never")
    report([before, noticed, recovered], traffic, stream, uri)


def divide(sample: pd.DataFrame) -> list[pd.DataFrame]:
    """Return past rows, traffic as it was, and changed traffic in two parts, in time order."""
    rows = sample.drop_duplicates().sort_values(TIME, kind="stable").reset_index(drop=True)
    ends = [int(share * len(rows)) for share in (TRAINING, AS_IT_WAS, CHANGED)]
    past, as_it_was, changed, later = (
        rows.iloc[start:end] for start, end in pairwise([0, *ends, len(rows)])
    )
    harmless = past[past[TARGET] == 0].mean()
    return [past, as_it_was, drifted(changed, harmless), drifted(later, harmless)]


def drifted(rows: pd.DataFrame, harmless: "pd.Series[float]") -> pd.DataFrame:
    """Return `rows` as they would be in a changed world."""
    faded = {name: harmless[name] + FADE * (rows[name] - harmless[name]) for name in FADING}
    return rows.assign(**faded, **{name: rows[name] + SHIFT for name in SHIFTED})


def train(past: pd.DataFrame, place: Path) -> None:
    """Run the whole workflow on past rows, in the short way of one engine."""
    file = place / "past.parquet"
    past.to_parquet(file, index=False)
    parameters = {"data": str(file), "engines": "pycaret", "profile": "quick", "model_name": MODEL}
    run_step("main", parameters, reuse=False)


def look(uri: str, last: int, retrain: str) -> dict[str, Any]:
    """Monitor the last predictions; return the tags and metrics of what it found."""
    parameters = {"model_name": MODEL, "last": last, "log_uri": uri, "retrain": retrain}
    run_id = run_step("monitor", parameters, reuse=False)
    found = mlflow.get_run(mlflow.get_run(run_id).data.tags["monitoring_run_id"])
    return found.data.metrics | found.data.tags | {"run_id": found.info.run_id}


def new_champion(noticed: dict[str, Any]) -> str:
    """Return the version that a look led to.

    Raises:
        EngineError: it led to none.
    """
    champion = find_champion(MODEL)
    assert champion is not None, "the demo has trained one"
    if str(champion.version) == noticed["model_version"]:
        why = noticed.get("retraining_decision") or noticed.get("retrained", "nothing was found")
        raise EngineError(
            f"version {champion.version} of {MODEL} is still champion: {why}; look in mlflow ui at "
            f"the run {noticed['run_id']} of the experiment '{MODEL} monitoring'"
        )
    return str(champion.version)


@contextmanager
def running_service(uri: str, place: Path) -> Iterator[str]:
    """Run the service on a free port of this machine until the context ends; give its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "MLPIPES_MODEL_URI": f"models:/{MODEL}@champion",
        "MLPIPES_POLL_SECONDS": "1",
        "MLPIPES_SPOOL": str(place / "spool"),
        "PREDICTION_LOG_URI": uri,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
    }
    command = [sys.executable, "-m", "uvicorn", "serving.app:app", "--host", "127.0.0.1"]
    output = place / "service.log"
    with tied_process([*command, "--port", str(port)], output, environment):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(url):
            if time.monotonic() > deadline:
                raise EngineError(f"the service did not start: see {output}")
            time.sleep(0.2)
        yield url


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


@dataclass
class Traffic:
    """Callers of the service: what they sent, and what they were answered.

    Attributes:
        url: of the service.
        sent: how many rows.
        answered: the prediction ids of all answers.
        refused: how many of the rows got none.
        versions: those that answered, one after the other.
    """

    url: str
    sent: int = 0
    answered: list[str] = field(default_factory=list)
    refused: int = 0
    versions: list[str] = field(default_factory=list)

    def send(self, rows: pd.DataFrame) -> None:
        """Ask for predictions in the order of the rows, some at a time."""
        with requests.Session() as session:
            for start in range(0, len(rows), BATCH):
                self._ask(session, rows.iloc[start : start + BATCH])

    @contextmanager
    def going_on(self, rows: pd.DataFrame) -> Iterator["Future[None]"]:
        """Send `rows` slowly in the background until the context ends; give what sends them."""
        enough = threading.Event()

        def send_slowly() -> None:
            with requests.Session() as session:
                for start in range(0, len(rows), FEW):
                    if enough.wait(PAUSE):
                        return
                    self._ask(session, rows.iloc[start : start + FEW])

        with ThreadPoolExecutor(1) as background:
            sender = background.submit(send_slowly)
            try:
                yield sender
            finally:
                enough.set()
            sender.result()

    def _ask(self, session: requests.Session, rows: pd.DataFrame) -> None:
        features = [name for name in rows.columns if name not in (TARGET, TIME)]
        body: dict[str, Any] = {name: rows[name].tolist() for name in features}
        body["id"] = _ids(rows)
        self.sent += len(rows)
        try:
            answer = session.post(f"{self.url}/predict", json=body, timeout=60)
            answer.raise_for_status()
        except requests.RequestException as error:
            log.warning("a request got no answer: %s", error)
            self.refused += len(rows)
            return
        content = answer.json()
        self.answered += [one["prediction_id"] for one in content["predictions"]]
        if (version := content["model"]["version"]) not in self.versions[-1:]:
            self.versions.append(version)

    def tell_outcomes(self, rows: pd.DataFrame) -> None:
        """Report what turned out to be true of `rows`, in one call."""
        labels: list[dict[str, Any]] = [
            {"id": id_, "label": int(label)}
            for id_, label in zip(_ids(rows), rows[TARGET], strict=True)
        ]
        answer = requests.post(f"{self.url}/feedback", json={"labels": labels}, timeout=60)
        answer.raise_for_status()

    def wait_for(self, version: str, sender: "Future[None]") -> None:
        """Wait until the service answers what `sender` sends with `version`.

        Raises:
            EngineError: it does not, or no row was left to ask it with.
        """
        deadline = time.monotonic() + START_SECONDS
        while version not in self.versions:
            if sender.done():
                sender.result()  # if an error ended it, that is what there is to say
                raise EngineError(f"all rows were sent before version {version} took over")
            if time.monotonic() > deadline:
                raise EngineError(f"the service did not take over version {version}")
            time.sleep(0.2)


def _ids(rows: pd.DataFrame) -> list[str]:
    return [f"demo-{number}" for number in rows.index]


def report(found: list[dict[str, Any]], traffic: Traffic, stream: Traffic, uri: str) -> None:
    """Say what happened, and log it with the pictures of the three looks.

    Args:
        found: by the three looks.
        traffic: what came in before and after the takeover.
        stream: what came in meanwhile.
        uri: of the prediction log.

    Raises:
        EngineError: an answer is not in the log, a row got none, or not both versions answered
            in the stream, one after the other.
    """
    lines = []
    for title, look_ in zip(("As it was", "Changed", "After"), found, strict=True):
        lines += [
            f"{title}: version {look_['model_version']}, drift {look_['drift_detected']}, "
            f"degraded {look_['performance_degraded']}; {look_['performance_reason']}"
        ]
        _copy_picture(look_["run_id"], title)
    answered = [*traffic.answered, *stream.answered]
    counts = {
        "sent": traffic.sent + stream.sent,
        "answered": len(answered),
        "refused": traffic.refused + stream.refused,
        "lost": count_lost(answered, uri),
    }
    versions = ", then ".join(stream.versions)
    total = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    lines += [f"Rows: {total}; during the takeover version {versions} answered"]
    text = "\n".join(lines)
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    mlflow.set_tag("versions", versions)
    mlflow.log_text(text, "what_happened.txt")
    log.info(
        "\n%s\nNext: mlflow ui (experiment '%s monitoring'), then make demo ARGS=\"-P clean=true\"",
        text, MODEL,
    )  # fmt: skip
    if counts["lost"] or counts["refused"] or counts["sent"] != counts["answered"]:
        raise EngineError(f"not every row has an answer that was kept: {total}")
    if stream.versions != [found[0]["model_version"], found[-1]["model_version"]]:
        raise EngineError(f"the takeover was not seen: version {versions} answered meanwhile")


def count_lost(answered: list[str], uri: str) -> int:
    """Return how many answers have no row of their own in the prediction log at `uri`."""
    engine = connect(uri)
    with engine.connect() as connection:
        stored = set(connection.execute(sa.select(predictions.c.prediction_id)).scalars())
    engine.dispose()
    return len(answered) - len(stored.intersection(answered))


def _copy_picture(run_id: str, title: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="plots/summary.png", dst_path=folder
        )
        shutil.move(path, f"{folder}/{title}.png")
        mlflow.log_artifact(f"{folder}/{title}.png", "plots")


def remove_earlier(place: Path) -> None:
    """Remove the folder and the registered model of an earlier demo; its runs stay.

    Raises:
        ParameterError: the folder was not made by a demo.
    """
    if place.exists():
        if not (place / MARK).is_file():
            raise ParameterError(f"folder: {place} was not made by the demo: take another name")
        shutil.rmtree(place)
    try:
        mlflow.MlflowClient().delete_registered_model(MODEL)
    except MlflowException as error:
        if not is_absent(error):
            raise


if __name__ == "__main__":
    demo()
