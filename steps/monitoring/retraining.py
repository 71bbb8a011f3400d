"""Retraining of the champion on its base data and all labelled predictions."""

import logging
from datetime import UTC, datetime

import mlflow
from mlflow.entities import Run

from serving.log.existing import open_log
from serving.log.queries import LabelCounts, count_labels_since
from steps.data.origin import BASE, TIMES_FROM
from steps.monitoring.findings import Findings
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.performance import MIN_LABELS_PER_CLASS
from steps.monitoring.retraining_data import build_retraining_data, log_table
from steps.monitoring.retraining_triggers import (
    DECISION_TAG,
    RetrainingTrigger,
    last_trigger,
    record_trigger,
)
from steps.runtime.errors import StepError
from steps.runtime.mlflow_pages import link_both_ways
from steps.workflow.running import run_step

logger = logging.getLogger("ml-pipes")

RETRAINED_TAG = "retrained"


def retrain_if_triggered(
    retrain: str, log_uri: str, champion: MonitoredChampion, findings: Findings, run: Run
) -> None:
    """Retrain if the findings call for it; tag the monitoring run with the reason either way.

    Args:
        retrain: `auto` or `always`.
        log_uri: SQLAlchemy URL of the prediction log.
        champion: the present champion.
        findings: findings of the whole window.
        run: the monitoring run.

    Raises:
        StepError: the retraining failed, or reached a decision without one of its engines.
    """
    trigger = last_trigger(run.info.experiment_id, champion.registered)
    now = datetime.now(UTC)
    with open_log(log_uri) as connection:
        since = trigger.until if trigger else None
        new_labels = count_labels_since(connection, champion.registered.name, since)
    reason = reason_against_retraining(retrain, champion, findings, trigger, new_labels)
    if reason:
        _tag_not_retrained(run, reason)
        return
    record_trigger(run.info.run_id, findings.window, now)
    retrain_champion(log_uri, champion, findings, run)


def reason_against_retraining(
    retrain: str,
    champion: MonitoredChampion,
    findings: Findings,
    trigger: RetrainingTrigger | None,
    new_labels: LabelCounts,
) -> str:
    """Return the reason not to retrain, or an empty string.

    Args:
        retrain: `auto` or `always`.
        champion: the present champion.
        findings: findings of the whole window.
        trigger: trigger of the last retraining.
        new_labels: numbers of labels recorded since then.
    """
    if retrain == "auto":
        if not (findings.drifted or findings.degraded):
            return "neither drift nor degradation detected"
        if trigger:
            new = champion.assess_since(trigger, findings.window)
            if not (new.drifted or new.degraded):
                return f"already retrained for this; change since then: {new.title}"
    return too_few_labels(new_labels)


def too_few_labels(labels: LabelCounts) -> str:
    """Return the reason if the labels since the last retraining are too few, or an empty string.

    With labels of one class only, the last rows of the table, its test split, have only that class.
    """
    if min(labels.positives, labels.negatives) >= MIN_LABELS_PER_CLASS:
        return ""
    return (
        f"{labels.positives} positive and {labels.negatives} negative labels are new; "
        f"at least {MIN_LABELS_PER_CLASS} of each class are required"
    )


def retrain_champion(
    log_uri: str, champion: MonitoredChampion, findings: Findings, run: Run
) -> None:
    """Run the whole workflow on the champion's base data and the labelled predictions.

    Raises:
        StepError: the workflow failed, or reached a decision without one of its engines.
    """
    with open_log(log_uri) as connection:
        data = build_retraining_data(connection, champion.registered.name, champion.registered)
    if not data.added:
        _tag_not_retrained(run, "no new labelled predictions")
        return
    logger.info(
        "retraining with %s labelled predictions added (left out: %s duplicates, %s that lack a "
        "feature): %s",
        f"{data.added:,}", f"{data.duplicates:,}", f"{data.incomplete:,}", findings.title,
    )  # fmt: skip
    mlflow.set_tags({BASE: data.base_run_id, TIMES_FROM: data.times_from.isoformat()})
    parameters = data.parameters | {"data": log_table(data.table)}
    failure = None
    try:
        workflow_id = run_step("main", parameters, reuse=False)
    except StepError as error:
        workflow_id, failure = error.run_id, error
    if workflow_id:
        link_both_ways(run.info.run_id, "Retraining", workflow_id, "Requested by the monitoring")
    tags = mlflow.get_run(workflow_id).data.tags if workflow_id else {}
    if "decision" in tags:  # reached even if one of several engines failed
        _tag_retrained(run, findings, workflow_id, tags["decision"])
    if failure:
        raise failure


def _tag_not_retrained(run: Run, reason: str) -> None:
    logger.info("not retrained: %s", reason)
    mlflow.MlflowClient().set_tag(run.info.run_id, RETRAINED_TAG, f"no: {reason}")


def _tag_retrained(run: Run, findings: Findings, workflow_id: str, decision: str) -> None:
    tags = {
        RETRAINED_TAG: f"yes: {findings.title}",
        "retraining_run_id": workflow_id,
        DECISION_TAG: decision,
    }
    for name, value in tags.items():
        mlflow.MlflowClient().set_tag(run.info.run_id, name, value)
