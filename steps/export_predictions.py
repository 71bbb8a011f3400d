"""Export of the prediction log: one row per prediction, features as columns, with true labels.

mlflow run . -e export_predictions -P output=predictions.parquet
mlflow run . -e export_predictions -P output=may.csv -P since=2026-05-01 -P until=2026-06-01
"""

import logging
from datetime import datetime
from pathlib import Path

import mlflow

from serving.settings import resolve_log_uri
from steps.prediction_log.export import export
from steps.runtime.entry_point import step

logger = logging.getLogger("ml-pipes")


@step
def export_predictions(
    output: Path, since: datetime | None, until: datetime | None, log_uri: str
) -> None:
    """Write the predictions of a time window to one file, oldest first."""
    count = export(resolve_log_uri(log_uri), output, since, until)
    mlflow.log_metric("rows", count)
    logger.info("%s: exported %s predictions", output, f"{count:,}")


if __name__ == "__main__":
    export_predictions()
