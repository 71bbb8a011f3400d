"""The prediction log, for steps that read it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError
from serving.schema import READ_ONLY, one_line, open_existing
from serving.spool import emptied_spool
from steps.pipeline.errors import ParameterError


def check_window(since: datetime | None, until: datetime | None) -> None:
    """Check that a time window is not empty.

    Raises:
        ParameterError: it is.
    """
    if since and until and since >= until:
        raise ParameterError(f"since: {since} must be before until, {until}")


@contextmanager
def open_log(uri: str) -> Iterator[sa.Connection]:
    """Give a connection that reads the log at `uri`, what waits in its spool included.

    Raises:
        LogUnavailableError: there is none, or it is away.
    """
    engine = open_existing(uri)
    try:
        with emptied_spool(engine):
            pass
        with engine.connect().execution_options(**READ_ONLY) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise LogUnavailableError(f"the prediction log is away: {one_line(error)}") from error
    finally:
        engine.dispose()
