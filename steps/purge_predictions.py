"""Remove old predictions, and what is known to be true of them, for good.

mlflow run . -e purge_predictions -P before=2026-01-01
"""

import logging
from datetime import UTC, datetime

import mlflow
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.history import Counts
from serving.purge import delete_before
from serving.schema import compact, one_line, open_existing
from serving.schema import log_uri as place_of_log
from serving.spool import emptied_spool
from steps.pipeline.errors import ParameterError
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")


@step
def purge_predictions(before: datetime, log_uri: str) -> None:
    """Delete the predictions made before a moment, then give their space back."""
    removed = purge(place_of_log(log_uri), before)
    mlflow.log_metrics({"predictions": removed.predictions, "labels": removed.labels})
    log.info(
        "removed %s predictions and %s labels from before %s",
        f"{removed.predictions:,}",
        f"{removed.labels:,}",
        before,
    )


def purge(uri: str, before: datetime) -> Counts:
    """Remove the predictions made before `before` and their labels; return how many.

    Raises:
        ParameterError: `before` lies in the future.
        LogUnavailableError: there is no log at `uri`, or it is away or in use.
    """
    if before > datetime.now(UTC):
        raise ParameterError(f"before: {before} lies in the future")
    engine = open_existing(uri)
    try:
        with emptied_spool(engine) as spool:
            removed = delete_before(engine, before)
            compact(engine)
            if spool is not None:
                spool.compact()
        return removed
    except SQLAlchemyError as error:
        raise LogUnavailableError(
            f"the purge did not finish: {one_line(error)}; run it again"
        ) from error
    finally:
        engine.dispose()


if __name__ == "__main__":
    purge_predictions()
