"""Look at what the champion met since: drift, live performance, and whether to train again.

mlflow run . -e monitor
mlflow run . -e monitor -P window=36h
mlflow run . -e monitor -P since=2026-05-01 -P until=2026-06-01
mlflow run . -e monitor -P last=10000 -P retrain=auto
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import numpy as np
from filelock import Timeout
from mlflow.entities import Run

from serving.history import labels_since
from serving.schema import log_uri as place_of_log
from steps.monitoring.champion import Champion, Findings, read_champion
from steps.monitoring.drift import Drift
from steps.monitoring.evidence import (
    DECISION,
    MODEL_RUN,
    Evidence,
    last_evidence,
    note_evidence,
)
from steps.monitoring.performance import Performance
from steps.monitoring.picture import summary_picture
from steps.monitoring.retraining import log_table, prepare, too_few_labels
from steps.monitoring.window import read_window
from steps.pipeline.errors import BusyError, ParameterError, StepError
from steps.pipeline.log_reader import check_window, open_log
from steps.pipeline.origin import BASE, MONITORING_RUN
from steps.pipeline.plots import log_pictures
from steps.pipeline.registry import lock_of
from steps.pipeline.step import step
from steps.pipeline.workflow import run_step

log = logging.getLogger("ml-pipes")


@step
def monitor(
    model_name: str,
    window: timedelta,
    since: datetime | None,
    until: datetime | None,
    last: int | None,
    psi_limit: float,
    drift_share: float,
    metric_floor: float | None,
    retrain: str,
    log_uri: str,
) -> None:
    """Compare predictions with what the champion came from; train again if that is asked for."""
    if last is not None and (since or until):
        raise ParameterError("last: pass either last, or since and until")
    check_window(since, until)
    if last is None and not (since or until):
        since = datetime.now(UTC) - window
    uri = place_of_log(log_uri)
    with one_monitoring(model_name):
        champion = read_champion(model_name, psi_limit, drift_share, metric_floor)
        with open_log(uri) as connection:
            seen = read_window(
                connection, model_name, champion.run_id, champion.features, since, until, last
            )
        findings = champion.assess(seen)
        with monitoring_run(model_name) as run:
            log_findings(findings, champion)
        mlflow.set_tag(MONITORING_RUN, run.info.run_id)
        log.info("%s version %s: %s", model_name, champion.version, findings)
        if retrain != "never":
            consider_retraining(retrain, uri, champion, findings, run)


@contextmanager
def one_monitoring(model_name: str) -> Iterator[None]:
    """Let one process of this machine at a time monitor a model, retraining included.

    Raises:
        BusyError: another does.
    """
    try:
        with lock_of(model_name, "monitor").acquire(blocking=False):
            yield
    except Timeout:
        raise BusyError(f"{model_name} is being monitored by another process: try later") from None


@contextmanager
def monitoring_run(model_name: str) -> Iterator[Run]:
    """Open a run in the experiment of its own that holds all monitorings of a model."""
    name = f"{model_name} monitoring"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(name)
    experiment_id = (
        experiment.experiment_id
        if experiment
        else client.create_experiment(name, artifact_location=beside_other_runs(name))
    )
    title = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with mlflow.start_run(experiment_id=experiment_id, run_name=title, nested=True) as run:
        yield run


def beside_other_runs(name: str) -> str | None:
    """Return a folder for a new experiment, next to that of the active run.

    None where a server decides. Left to itself MLflow takes the folder that a process runs in: for
    a step that is the project's, wherever the user is.
    """
    run = mlflow.active_run()
    assert run is not None, "a step is a run"
    here = mlflow.get_experiment(run.info.experiment_id).artifact_location
    if urlsplit(here).scheme not in ("", "file"):
        return None
    return f"{here.rpartition('/')[0]}/{name.replace(' ', '-')}"


def log_findings(findings: Findings, champion: Champion) -> None:
    """Log everything to the active run: metrics, Evidently's page, the picture, the verdicts."""
    drift, performance, window = findings.drift, findings.performance, findings.window
    mlflow.log_metric("predictions", window.count)
    mlflow.log_metric("labels", len(window.labelled))
    if isinstance(drift, Drift):
        mlflow.log_metrics(drift.metrics)
        with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
            drift.write_page(Path(folder) / "drift.html")
            mlflow.log_artifacts(folder)
    if isinstance(performance, Performance):
        mlflow.log_metrics(performance.logged)
    now = window.rows.loc[window.rows["own"], "score"].to_numpy(np.float64)
    picture = summary_picture(
        findings.title, drift, performance, (champion.reference.scores, now), champion.test
    )
    log_pictures({"summary.png": picture}, "plots")
    mlflow.set_tags(
        {
            "model_name": champion.registered.name,
            "model_version": champion.version,
            MODEL_RUN: str(champion.run_id),
            "drift_detected": _verdict(findings.drifted, drift),
            "drift_reason": str(drift),
            "performance_degraded": _verdict(findings.degraded, performance),
            "performance_reason": str(performance),
            "window_since": str(window.rows["created_at"].min()),
            "window_until": str(window.until),
        }
    )


def _verdict(found: bool, measured: object) -> str:
    return "unknown" if isinstance(measured, str) else str(found).lower()


def consider_retraining(
    retrain: str, log_uri: str, champion: Champion, findings: Findings, run: Run
) -> None:
    """Train again if what was found is a reason to, and note why or why not on `run`."""
    evidence = last_evidence(run.info.experiment_id, champion.registered)
    moment = datetime.now(UTC)
    with open_log(log_uri) as connection:
        labels = labels_since(
            connection, champion.registered.name, evidence.until if evidence else None
        )
    against = reason_not_to_retrain(retrain, champion, findings, evidence, labels)
    if against:
        log.info("not trained again: %s", against)
        mlflow.MlflowClient().set_tag(run.info.run_id, "retrained", f"no: {against}")
        return
    note_evidence(run.info.run_id, findings.window, moment)
    train_again(log_uri, champion, findings, run)


def reason_not_to_retrain(
    retrain: str,
    champion: Champion,
    findings: Findings,
    evidence: Evidence | None,
    labels: dict[str, int],
) -> str:
    """Return in words why not to train again; empty if nothing speaks against it.

    Args:
        retrain: auto or always.
        champion: the present one.
        findings: of the whole window.
        evidence: what led to the last retraining, which is no evidence for another one.
        labels: those recorded since then.
    """
    if retrain == "auto":
        if not (findings.drifted or findings.degraded):
            return "neither drift nor degradation was found"
        if evidence:
            fresh = champion.since(evidence, findings.window, labels)
            if not (fresh.drifted or fresh.degraded):
                return f"it led to a retraining already; compared with then: {fresh.title}"
    return too_few_labels(labels.values())


def train_again(log_uri: str, champion: Champion, findings: Findings, run: Run) -> None:
    """Run the whole workflow on the champion's data and the labelled predictions after them.

    Raises:
        StepError: it failed, or ended with a decision but without one of its engines.
    """
    client = mlflow.MlflowClient()
    with open_log(log_uri) as connection:
        prepared = prepare(connection, champion.registered.name, champion.registered)
    if not prepared.new:
        log.info("no labelled prediction is new: there is nothing more to learn from")
        client.set_tag(run.info.run_id, "retrained", "no: no labelled prediction is new")
        return
    log.info(
        "training again with %s labelled predictions more (%s equal rows that are there, %s lack "
        "a feature): %s",
        f"{prepared.new:,}", f"{prepared.known:,}", f"{prepared.other:,}", findings.title,
    )  # fmt: skip
    mlflow.set_tag(BASE, prepared.base_run_id)
    parameters = prepared.parameters | {"data": log_table(prepared.table)}
    failure = None
    try:
        workflow_id = run_step("main", parameters, reuse=False)
    except StepError as error:
        workflow_id, failure = error.run_id, error
    tags = mlflow.get_run(workflow_id).data.tags if workflow_id else {}
    if "decision" in tags:  # it may end so, and with an error: without one of its engines
        notes = {
            "retrained": f"yes: {findings.title}",
            "retraining_run_id": workflow_id,
            DECISION: tags["decision"],
        }
        for name, value in notes.items():
            client.set_tag(run.info.run_id, name, value)
    if failure:
        raise failure


if __name__ == "__main__":
    monitor()
