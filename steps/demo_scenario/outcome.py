"""Outcome of the demo: the monitored stages and the account of all answers."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import mlflow
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.database.schema import predictions
from steps.demo_scenario.data import MODEL_NAME
from steps.demo_scenario.traffic import Traffic
from steps.runtime.errors import EngineError

logger = logging.getLogger("ml-pipes")

STAGES = ("As it was", "Changed", "After")


def report_outcome(
    monitorings: Sequence[dict[str, Any]], traffic: Traffic, background: Traffic, log_uri: str
) -> None:
    """Log the outcome as text, metrics and pictures, and check it.

    Args:
        monitorings: tags and metrics of the monitoring run of each stage.
        traffic: traffic before and after the takeover.
        background: traffic during the takeover.
        log_uri: SQLAlchemy URL of the prediction log.

    Raises:
        EngineError: a row was not answered, an answer is not in the log, or the old and the new
            champion did not answer one after the other.
    """
    counts = count_rows(traffic, background, log_uri)
    total = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    versions = ", then ".join(background.versions)
    lines = [
        *map(_describe_stage, STAGES, monitorings),
        f"Rows: {total}; during the takeover version {versions} answered",
    ]
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    mlflow.set_tag("versions", versions)
    mlflow.log_text("\n".join(lines), "what_happened.txt")
    for stage, monitoring in zip(STAGES, monitorings, strict=True):
        _copy_picture(monitoring["run_id"], stage)
    logger.info(
        "\n%s\nNext: mlflow ui (experiment '%s monitoring'), then make demo ARGS=\"-P clean=true\"",
        "\n".join(lines), MODEL_NAME,
    )  # fmt: skip
    if counts["lost"] or counts["refused"] or counts["sent"] != counts["answered"]:
        raise EngineError(f"not every row has a logged answer: {total}")
    if background.versions != [monitorings[0]["model_version"], monitorings[-1]["model_version"]]:
        raise EngineError(
            f"no single takeover from the old to the new champion: version {versions} answered"
        )


def count_rows(traffic: Traffic, background: Traffic, log_uri: str) -> dict[str, int]:
    """Return the numbers of rows sent, answered, refused, and lost after their answer."""
    answered = [*traffic.answered, *background.answered]
    return {
        "sent": traffic.sent + background.sent,
        "answered": len(answered),
        "refused": traffic.refused + background.refused,
        "lost": count_lost(answered, log_uri),
    }


def _describe_stage(stage: str, monitoring: dict[str, Any]) -> str:
    return (
        f"{stage}: version {monitoring['model_version']}, drift {monitoring['drift_detected']}, "
        f"degraded {monitoring['performance_degraded']}; {monitoring['performance_reason']}"
    )


def count_lost(answered: list[str], log_uri: str) -> int:
    """Return the number of answers without a row of their own in the prediction log."""
    engine = connect(log_uri)
    with engine.connect() as connection:
        stored = set(connection.execute(sa.select(predictions.c.prediction_id)).scalars())
    engine.dispose()
    return len(answered) - len(stored.intersection(answered))


def _copy_picture(run_id: str, stage: str) -> None:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        path = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="plots/summary.png", dst_path=folder
        )
        shutil.move(path, f"{folder}/{stage}.png")
        mlflow.log_artifact(f"{folder}/{stage}.png", "plots")
