"""Opening a prediction log that exists, with the rows of its spool."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.errors import LogUnavailableError, one_line, unavailable
from serving.log.database.engine import READ_ONLY, connect, without_password
from serving.log.database.migrations import upgrade, version_of
from serving.log.spool import emptied_spool

REMEDY = "set log_uri or PREDICTION_LOG_URI"


def open_existing(uri: str) -> sa.Engine:
    """Return an engine for an existing log, migrated if it is older; never create one.

    Raises:
        LogUnavailableError: there is no log, it cannot be reached, or it is newer than this code.
    """
    engine = connect(uri)
    shown = without_password(engine.url)
    file = engine.url.database
    if engine.dialect.name == "sqlite" and not (file and Path(file).is_file()):
        raise LogUnavailableError(f"no prediction log at {shown}: {REMEDY}")
    try:
        with engine.connect().execution_options(**READ_ONLY) as connection:
            version = version_of(connection)
        if not version:
            raise LogUnavailableError(f"{shown} holds no prediction log: {REMEDY}")
        upgrade(engine)
    except SQLAlchemyError as error:
        raise LogUnavailableError(
            f"prediction log {shown} cannot be opened: {one_line(error)}"
        ) from error
    return engine


@contextmanager
def open_log(uri: str) -> Iterator[sa.Connection]:
    """Yield a connection for reading the log at `uri`, after emptying its spool into it.

    Raises:
        LogUnavailableError: there is no log, or it cannot be read.
    """
    engine = open_existing(uri)
    try:
        with emptied_spool(engine):
            pass
        with engine.connect().execution_options(**READ_ONLY) as connection:
            yield connection
    except SQLAlchemyError as error:
        raise unavailable(error) from error
    finally:
        engine.dispose()
