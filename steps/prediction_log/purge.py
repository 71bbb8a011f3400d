"""Permanent deletion of old predictions and their ground truth."""

from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError, one_line
from serving.log.database.space import compact
from serving.log.existing import open_existing
from serving.log.purge import delete_before
from serving.log.queries import Counts
from serving.log.spool import emptied_spool
from steps.runtime.errors import ParameterError


def purge(uri: str, before: datetime) -> Counts:
    """Delete the predictions made before `before` and their labels, then compact the log.

    Returns:
        The numbers of deleted predictions and labels.

    Raises:
        ParameterError: `before` is in the future.
        LogUnavailableError: there is no log at `uri`, or it is unavailable or in use.
    """
    if before > datetime.now(UTC):
        raise ParameterError(f"before: {before} is in the future; use a past time")
    engine = open_existing(uri)
    try:
        with emptied_spool(engine) as spool:
            removed = delete_before(engine, before)
            compact(engine)
            if spool is not None:
                spool.compact()
        return removed
    except SQLAlchemyError as error:
        raise LogUnavailableError(f"purge incomplete: {one_line(error)}; run it again") from error
    finally:
        engine.dispose()
