"""Permanent deletion of old predictions and their ground truth.

mlflow run . -e purge_predictions -P before=2026-01-01
"""

import logging
from datetime import datetime

import mlflow

from serving.settings import resolve_log_uri
from steps.prediction_log.purge import purge
from steps.runtime.entry_point import step

logger = logging.getLogger("ml-pipes")


@step
def purge_predictions(before: datetime, log_uri: str) -> None:
    """Delete the predictions made before a time, then reclaim their space."""
    removed = purge(resolve_log_uri(log_uri), before)
    mlflow.log_metrics({"predictions": removed.predictions, "labels": removed.labels})
    logger.info(
        "deleted %s predictions and %s labels older than %s",
        f"{removed.predictions:,}",
        f"{removed.labels:,}",
        before,
    )


if __name__ == "__main__":
    purge_predictions()
