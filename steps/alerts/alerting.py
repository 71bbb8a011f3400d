"""Alerts for findings that began or ended since the last monitoring run."""

import logging

import mlflow
from mlflow.entities import Run

from steps.alerts.alert import Alert
from steps.alerts.delivery import DeliveryError, Receiver, receivers
from steps.alerts.settings import AlertSettings
from steps.monitoring.findings import Findings
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.runtime.mlflow_pages import find_pages, run_link

logger = logging.getLogger("ml-pipes")

# Tags of a monitoring run: the findings that receivers were told of and that have not ended, as
# RECEIVER:FINDING, and the reasons why alerts were not delivered.
OPEN_ALERTS, ALERT_ERROR = "open_alerts", "alert_error"
NONE = "none"
# The tags with the verdict and the reason of each finding.
VERDICTS = {
    "drift": ("drift_detected", "drift_reason"),
    "degradation": ("performance_degraded", "performance_reason"),
}


def send_alerts(
    settings: AlertSettings, findings: Findings, champion: MonitoredChampion, run: Run
) -> None:
    """Send an alert for each finding that began, or ended, since the last monitoring run.

    An alert that is not delivered is sent again by the next run. It does not fail this one.

    Args:
        settings: the receivers; without any, nothing is sent.
        findings: what this monitoring run found.
        champion: the champion that it monitored.
        run: the active monitoring run.
    """
    known = open_alerts(run.info.experiment_id)
    failures: list[str] = []
    for receiver, send in (found := receivers(settings)).items():
        prefix = f"{receiver}:"
        before = {name.removeprefix(prefix) for name in known if name.startswith(prefix)}
        for name, event in changes(before, findings.verdict_tags).items():
            alert = _alert(name, event, findings, champion, run)
            if failure := _failure(send, alert):
                failures.append(failure)
            else:
                known ^= {prefix + name}
    if found:
        mlflow.set_tag(OPEN_ALERTS, ",".join(sorted(known)) or NONE)
    if failures:
        mlflow.set_tag(ALERT_ERROR, "; ".join(dict.fromkeys(failures)))


def _failure(send: Receiver, alert: Alert) -> str | None:
    """Send an alert, and return the reason if it was not delivered."""
    try:
        send(alert)
    except DeliveryError as error:
        logger.warning("alert not delivered: %s (%s)", alert.title, error)
        return str(error)
    logger.info("alert delivered: %s", alert.title)
    return None


def changes(before: set[str], verdicts: dict[str, str]) -> dict[str, str]:
    """Return the event, "raised" or "resolved", of each finding that began or ended.

    A finding whose verdict is unknown neither begins nor ends.

    Args:
        before: the open findings that a receiver was told of.
        verdicts: the tags of a monitoring run.
    """
    found = {name: verdicts[tag] for name, (tag, _) in VERDICTS.items()}
    begun = {name: "raised" for name in found if found[name] == "true" and name not in before}
    ended = {name: "resolved" for name in found if found[name] == "false" and name in before}
    return begun | ended


def open_alerts(experiment_id: str) -> set[str]:
    """Return the open findings, as RECEIVER:FINDING, of the last monitoring run with receivers."""
    runs = mlflow.MlflowClient().search_runs(
        [experiment_id],
        filter_string=f"tags.{OPEN_ALERTS} LIKE '%'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return set(runs[0].data.tags[OPEN_ALERTS].split(",")) - {NONE} if runs else set()


def _alert(
    name: str, event: str, findings: Findings, champion: MonitoredChampion, run: Run
) -> Alert:
    window = findings.window
    _, reason = VERDICTS[name]
    return Alert(
        event=event,
        finding=name,
        model=champion.registered.name,
        model_version=champion.version,
        reason=findings.verdict_tags[reason],
        since=window.rows["created_at"].iloc[0].isoformat(timespec="seconds"),
        until=window.rows["created_at"].iloc[-1].isoformat(timespec="seconds"),
        predictions=window.count,
        run_id=run.info.run_id,
        run_url=page_of(run),
    )


def page_of(run: Run) -> str | None:
    """Return the address of a run in MLflow, without credentials; None if no server shows it."""
    pages = find_pages()
    # Pages that a command serves are on this machine only.
    return pages.address(run_link(run)) if pages and not pages.command else None
