"""Reasons for which PostgreSQL refuses a connection, as codes.

The driver passes on the server's text alone, which is in the server's language.
"""

import re
import select
import tempfile
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

from serving.log.database.engine import TIMEOUTS

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

# SQLSTATE classes of what a retry does not change: wrong user or password, no such database.
MISCONFIGURED = ("28", "3D")
CODE = re.compile(rb'ErrorResponse\t S "[^"]*" V "[A-Z]+" C "(\w{5})"')


def is_misconfigured(engine: sa.Engine, error: sa.exc.OperationalError) -> bool:
    """Return whether PostgreSQL refused a connection that it will never accept."""
    code = getattr(error.orig, "sqlstate", None) or _refusal_code(engine)
    return code is not None and code.startswith(MISCONFIGURED)


def _refusal_code(engine: sa.Engine) -> str | None:
    """Connect once more, and return the SQLSTATE of the refusal.

    None if the server does not answer or accepts the connection. libpq shows the code only in its
    trace, which psycopg offers on Linux alone.
    """
    from psycopg import Error, pq
    from psycopg.conninfo import make_conninfo

    _, arguments = engine.dialect.create_connect_args(engine.url)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    conninfo = make_conninfo(**{name: arguments[name] for name in known & arguments.keys()})
    connection = pq.PGconn.connect_start(conninfo.encode())
    try:
        with tempfile.TemporaryFile() as trace:
            connection.trace(trace.fileno())
            _poll_until_refused(connection)
            connection.untrace()  # writes the rest of the trace
            trace.seek(0)
            found = CODE.search(trace.read())
    except (Error, OSError):
        return None
    finally:
        connection.finish()
    return found[1].decode() if found else None


def _poll_until_refused(connection: "PGconn") -> None:
    """Connect until the server has answered or the time of a connection is over."""
    from psycopg.pq import ConnStatus, PollingStatus

    end = time.monotonic() + TIMEOUTS["connect_timeout"]
    reading, writing = PollingStatus.READING, PollingStatus.WRITING
    status: int = writing
    while status in (reading, writing) and connection.status != ConnStatus.BAD:
        sockets, others = [connection.socket], list[int]()
        waiting = (sockets, others) if status == reading else (others, sockets)
        if not any(select.select(*waiting, [], max(end - time.monotonic(), 0))):
            return
        status = connection.connect_poll()
