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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
from filelock import Timeout
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.registry import SCORER_IN_MODEL
from serving.schema import log_uri as place_of_log
from serving.scorer import Manifest
from steps.monitoring.drift import Drift, measure_drift
from steps.monitoring.performance import Performance, measure_performance
from steps.monitoring.picture import summary_picture
from steps.monitoring.retraining import BASE, log_table, prepare
from steps.monitoring.window import Window, read_window
from steps.pipeline.errors import BusyError, ParameterError, RegistryError
from steps.pipeline.intervals import Interval
from steps.pipeline.log_reader import check_window, open_log
from steps.pipeline.plots import log_pictures
from steps.pipeline.reference import REFERENCE_IN_MODEL, Reference
from steps.pipeline.registry import downloaded, lock_of, the_champion
from steps.pipeline.step import step
from steps.pipeline.workflow import run_step

log = logging.getLogger("ml-pipes")

# On a monitoring run that led to a retraining: of what predictions it was the last evidence.
EVIDENCE = "evidence_until"


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
        features = [feature.name for feature in champion.manifest.features]
        with open_log(uri) as connection:
            seen = read_window(connection, model_name, features, since, until, last)
        findings = champion.assess(seen)
        with monitoring_run(model_name) as run:
            log_findings(findings, champion)
        mlflow.set_tag("monitoring_run_id", run.info.run_id)
        log.info("%s version %s: %s", model_name, champion.version, findings)
        if reason := reason_to_retrain(retrain, findings, champion, run.info.experiment_id):
            train_again(uri, champion, findings, run, reason)


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


@dataclass(frozen=True)
class Findings:
    """What a window showed; text says why something could not be measured."""

    window: Window
    drift: Drift | str
    performance: Performance | str

    @property
    def drifted(self) -> bool:
        """Whether drift was found."""
        return isinstance(self.drift, Drift) and self.drift.detected

    @property
    def degraded(self) -> bool:
        """Whether the champion was found to be worse than on its test rows."""
        return isinstance(self.performance, Performance) and self.performance.degraded

    @property
    def title(self) -> str:
        """The two verdicts in a few words."""
        drift = "drift unknown" if isinstance(self.drift, str) else "no drift"
        live = "performance unknown" if isinstance(self.performance, str) else "performance holds"
        drift = "DRIFT" if self.drifted else drift
        live = "PERFORMANCE DEGRADED" if self.degraded else live
        return f"{self.window.count:,} predictions: {drift}, {live}"

    def __str__(self) -> str:
        return f"{self.title}\n  drift: {self.drift}\n  performance: {self.performance}"


@dataclass(frozen=True)
class Champion:
    """The champion with what it brought along to be compared with, and the limits."""

    registered: ModelVersion
    manifest: Manifest
    reference: Reference
    test: tuple[float, Interval] | None
    psi_limit: float
    drift_share: float
    metric_floor: float | None

    @property
    def version(self) -> str:
        """Its number."""
        return str(self.registered.version)

    @property
    def metric(self) -> str:
        """The metric that made it champion."""
        return str(self.registered.tags["metric"])

    def assess(self, window: Window) -> Findings:
        """Measure drift, and the champion on those of its predictions whose outcome is known."""
        if window.rows.empty:
            empty = "the window holds no predictions of this model"
            return Findings(window, empty, empty)
        floor = self.metric_floor
        if floor is None and self.test:
            floor = self.test[1].low
        own = window.labelled[window.labelled["model_version"] == self.version]
        share = float((window.rows["model_version"] == self.version).mean())
        return Findings(
            window,
            measure_drift(
                window, self.reference, self.manifest, self.version, self.psi_limit,
                self.drift_share,
            ),
            measure_performance(own, round(share * window.count), self.metric, floor),
        )  # fmt: skip


def read_champion(
    model_name: str, psi_limit: float, drift_share: float, metric_floor: float | None
) -> Champion:
    """Return the champion of `model_name`.

    Raises:
        RegistryError: there is none, or it brought no reference along.
    """
    version = the_champion(model_name)
    with downloaded(model_name, str(version.version)) as model:
        manifest = Manifest.read(model / SCORER_IN_MODEL)
        reference = Reference.read(model / REFERENCE_IN_MODEL)
    if reference is None:
        raise RegistryError(
            f"version {version.version} of {model_name} was made before references were kept: "
            "train again with `mlflow run . -P cache=false -P promotion=always`"
        )
    test = on_test_rows(version)
    return Champion(version, manifest, reference, test, psi_limit, drift_share, metric_floor)


def on_test_rows(version: ModelVersion) -> tuple[float, Interval] | None:
    """Return the champion metric on the test rows; None if the run of its selection is gone."""
    try:
        metrics = mlflow.get_run(version.tags["selection_run_id"]).data.metrics
    except MlflowException:
        return None
    name = f"test_{version.tags['metric']}"
    return metrics[name], Interval(metrics[f"{name}_low"], metrics[f"{name}_high"])


@contextmanager
def monitoring_run(model_name: str) -> Iterator[Run]:
    """Open a run in the experiment of its own that holds all monitorings of a model."""
    name = f"{model_name} monitoring"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    title = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with mlflow.start_run(experiment_id=experiment_id, run_name=title, nested=True) as run:
        yield run


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
    own = window.rows["model_version"] == champion.version
    now = window.rows.loc[own, "score"].to_numpy(np.float64)
    picture = summary_picture(
        findings.title, drift, performance, (champion.reference.scores, now), champion.test
    )
    log_pictures({"summary.png": picture}, "plots")
    mlflow.set_tags(
        {
            "model_name": champion.registered.name,
            "model_version": champion.version,
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


def reason_to_retrain(
    retrain: str, findings: Findings, champion: Champion, experiment_id: str
) -> str:
    """Return why to train again, in words; empty if there is no reason.

    What led to a retraining before is no evidence for another one: then only what was predicted
    since then counts.
    """
    if retrain == "always":
        return f"retrain=always; {findings.title}"
    if retrain == "never" or not (findings.drifted or findings.degraded):
        return ""
    used = evidence_used(experiment_id)
    if used and not findings.window.rows.empty:
        fresh = champion.assess(findings.window.after(used))
        if not (fresh.drifted or fresh.degraded):
            log.info("it led to a retraining already; since then: %s", fresh)
            return ""
    return findings.title


def evidence_used(experiment_id: str) -> datetime | None:
    """Return when the last prediction was made that was evidence for a retraining, if any was."""
    found = mlflow.search_runs(
        [experiment_id], f"tags.{EVIDENCE} != ''", output_format="list", max_results=1
    )
    return datetime.fromisoformat(found[0].data.tags[EVIDENCE]) if found else None


def train_again(
    log_uri: str, champion: Champion, findings: Findings, run: Run, reason: str
) -> None:
    """Run the whole workflow on the champion's data and the labelled predictions after them."""
    client = mlflow.MlflowClient()
    with open_log(log_uri) as connection:
        prepared = prepare(connection, champion.registered.name, champion.registered)
    if not prepared.new:
        log.info("no labelled prediction is new: there is nothing more to learn from")
        client.set_tag(run.info.run_id, "retrained", "no: no labelled prediction is new")
        return
    log.info(
        "training again with %s labelled predictions more (%s equal to rows that are there): %s",
        f"{prepared.new:,}", f"{prepared.known:,}", reason,
    )  # fmt: skip
    data = log_table(prepared.table)
    workflow_id = run_step("main", prepared.parameters | {"data": data}, reuse=False)
    tags = mlflow.get_run(workflow_id).data.tags
    notes = {
        "retrained": f"yes: {reason}",
        "retraining_run_id": workflow_id,
        "retraining_decision": tags["decision"],
        EVIDENCE: findings.window.until.isoformat() if findings.window.until else "",
    }
    for name, value in notes.items():
        client.set_tag(run.info.run_id, name, value)
    if tags["promoted"] == "true":
        note_origin(champion.registered.name, tags["champion_version"], run, prepared.base_run_id)


def note_origin(model_name: str, number: str, run: Run, base_run_id: str) -> None:
    """Note on a version which monitoring asked for it, and on its data where they began."""
    client = mlflow.MlflowClient()
    client.set_model_version_tag(model_name, number, "monitoring_run_id", run.info.run_id)
    version = client.get_model_version(model_name, number)
    client.set_tag(version.tags["data_run_id"], BASE, base_run_id)


if __name__ == "__main__":
    monitor()
