"""Monitoring runs in MLflow, in an experiment of their own."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from filelock import Timeout
from mlflow.entities import LifecycleStage, Run

from steps.monitoring.drift import Drift
from steps.monitoring.findings import Findings
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.performance import Performance
from steps.monitoring.retraining_triggers import MODEL_RUN_TAG
from steps.monitoring.summary_plot import summary_picture
from steps.monitoring.window import Window
from steps.plots.style import log_pictures
from steps.runtime.active_run import active_run
from steps.runtime.errors import BusyError
from steps.runtime.locks import model_lock
from steps.runtime.mlflow_pages import (
    MODEL_TRAINING,
    add_to_note,
    find_run,
    monitoring_experiment,
    picture,
    run_link,
    runs_link,
    version_link,
)

logger = logging.getLogger("ml-pipes")


@contextmanager
def exclusive_monitoring(model_name: str) -> Iterator[None]:
    """Lock the monitoring of a model, its retraining included, against other processes.

    Raises:
        BusyError: another process of this machine is monitoring the model.
    """
    try:
        with model_lock(model_name, "monitor").acquire(blocking=False):
            yield
    except Timeout:
        raise BusyError(
            f"{model_name} is being monitored by another process; try again later"
        ) from None


@contextmanager
def monitoring_run(model_name: str) -> Iterator[Run]:
    """Open a run in the experiment that holds all monitoring runs of a model."""
    experiment_id = _active_experiment(monitoring_experiment(model_name))
    title = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    with mlflow.start_run(experiment_id=experiment_id, run_name=title, nested=True) as run:
        yield run


def _active_experiment(name: str) -> str:
    """Return the id of the experiment `name`, created or restored if necessary.

    MLflow keeps a deleted experiment, and its name, until `mlflow gc`.
    """
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return client.create_experiment(name, _artifact_location(name), MODEL_TRAINING)
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        logger.warning("the experiment '%s' was deleted; restoring it", name)
        client.restore_experiment(experiment.experiment_id)
    experiment_id: str = experiment.experiment_id
    return experiment_id


def _artifact_location(experiment_name: str) -> str | None:
    """Return a folder next to the active run's experiment; None if a server decides.

    MLflow's default is the working directory of the process: for a step that is the project's
    folder, not the user's.
    """
    location = mlflow.get_experiment(active_run().info.experiment_id).artifact_location
    if urlsplit(location).scheme not in ("", "file"):
        return None
    return f"{location.rpartition('/')[0]}/{experiment_name.replace(' ', '-')}"


def log_findings(findings: Findings, champion: MonitoredChampion) -> None:
    """Log metrics, Evidently's report, the summary picture and the verdicts to the active run."""
    window = findings.window
    mlflow.log_metrics({"predictions": window.count, "labels": len(window.labelled)})
    if isinstance(findings.drift, Drift):
        mlflow.log_metrics(findings.drift.metrics)
        _log_report(findings.drift)
    if isinstance(findings.performance, Performance):
        mlflow.log_metrics(findings.performance.logged_metrics)
    picture = summary_picture(
        findings.title,
        findings.drift,
        findings.performance,
        champion.reference.scores,
        window.champion_scores,
        champion.test_metric,
    )
    log_pictures({"summary.png": picture}, "plots")
    mlflow.set_tags(
        {
            "model_name": champion.registered.name,
            "model_version": champion.version,
            MODEL_RUN_TAG: str(champion.run_id),
        }
        | _period_tags(window)
        | findings.verdict_tags
    )
    _link_champion(findings.title, champion)


def _period_tags(window: Window) -> dict[str, str]:
    """Return the times of the first and the last prediction, if there are any."""
    times = window.rows["created_at"]
    if times.empty:
        return {}
    return {"window_since": str(times.iloc[0]), "window_until": str(times.iloc[-1])}


def _link_champion(verdicts: str, champion: MonitoredChampion) -> None:
    """Link the active run with that of the champion, which gets one link to all monitoring runs."""
    run, name = active_run(), champion.registered.name
    link = version_link(name, champion.version)
    paragraph = f"{verdicts}. Champion: [{name} version {champion.version}]({link})"
    if registered_by := find_run(champion.run_id):
        paragraph += f" of [{registered_by.info.run_name}]({run_link(registered_by)})"
    add_to_note(run.info.run_id, f"{paragraph}.")
    add_to_note(run.info.run_id, picture(run, "plots/summary.png", "summary"))
    all_runs = runs_link(run.info.experiment_id)
    title = monitoring_experiment(name)
    add_to_note(champion.run_id, f"Monitoring of this model: [{title}]({all_runs}).")


def _log_report(drift: Drift) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        drift.write_report(Path(folder) / "drift.html")
        mlflow.log_artifacts(folder)
