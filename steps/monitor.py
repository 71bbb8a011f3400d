"""Monitoring of the champion: drift, live performance, its challenger, and retraining.

mlflow run . -e monitor
mlflow run . -e monitor -P window=36h
mlflow run . -e monitor -P since=2026-05-01 -P until=2026-06-01
mlflow run . -e monitor -P last=10000 -P retrain=auto
mlflow run . -e monitor -P promote=auto
"""

import logging
from datetime import UTC, datetime, timedelta

import mlflow

from serving.log.existing import open_log
from serving.settings import resolve_log_uri
from steps.alerts.alerting import send_alerts
from steps.alerts.settings import read_alert_settings
from steps.data.origin import MONITORING_RUN
from steps.monitoring.monitored_champion import read_champion
from steps.monitoring.retraining import retrain_if_triggered
from steps.monitoring.runs import exclusive_monitoring, log_findings, monitoring_run
from steps.monitoring.window import read_window
from steps.runtime.entry_point import step
from steps.runtime.errors import ParameterError
from steps.runtime.memory import release_freed_memory
from steps.runtime.parameters import check_window
from steps.shadow.comparison import log_comparison, read_comparison
from steps.shadow.promotion import promote_winner

logger = logging.getLogger("ml-pipes")


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
    promote: str,
    log_uri: str,
) -> None:
    """Assess the logged predictions of a model; promote its challenger or retrain if requested."""
    if last is not None and (since or until):
        raise ParameterError("last: cannot be combined with since or until; pass one or the other")
    check_window(since, until)
    if last is None and not (since or until):
        since = datetime.now(UTC) - window
    uri = resolve_log_uri(log_uri)
    receivers = read_alert_settings()
    with exclusive_monitoring(model_name):
        champion = read_champion(model_name, psi_limit, drift_share, metric_floor)
        with open_log(uri) as connection:
            features = champion.manifest.features
            predictions = read_window(
                connection, model_name, champion.run_id, features, since, until, last
            )
            comparison = read_comparison(connection, champion, since, until, last)
        release_freed_memory()  # of the tables of the log
        findings = champion.assess(predictions)
        with monitoring_run(model_name) as run:
            log_findings(findings, champion)
            logger.info("%s version %s: %s", model_name, champion.version, findings)
            if until is None:  # a window of the past is no news
                send_alerts(receivers, findings, champion, run)
            if comparison is not None:
                log_comparison(comparison)
        # The run of this step logs the table of a retraining: `origin_of` reads the tag there.
        mlflow.set_tag(MONITORING_RUN, run.info.run_id)
        if promote == "auto":
            if comparison is None:
                logger.info(
                    "promote=auto: no challenger of %s has scored predictions of this window",
                    model_name,
                )
            elif promote_winner(comparison, run):
                return  # the findings concern the previous champion
        if retrain != "never":
            retrain_if_triggered(retrain, uri, champion, findings, run)


if __name__ == "__main__":
    monitor()
