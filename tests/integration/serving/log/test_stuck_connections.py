"""Watch over connections to PostgreSQL that are lost while it looks at them."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.database.watched_connection import WatchedConnection
from serving.log.recovery import StuckConnectionWatch

pytestmark = pytest.mark.quick


@pytest.fixture
def engine(postgres_uri):
    engine = connect(postgres_uri)
    yield engine
    engine.dispose()


def test_connection_lost_during_check_is_left_alone(engine, monkeypatch):
    def lose(connection):
        """Say that the connection is open, and lose it at once."""
        connection.pgconn.finish()
        return False

    def abort_while_lost():
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "closed", property(lose))
            watched.abort_if_stuck()

    watched = WatchedConnection(engine, stuck_seconds=0)
    lost = pytest.raises(sa.exc.OperationalError)
    with ThreadPoolExecutor(1) as watch, lost, watched.transaction():
        error = watch.submit(abort_while_lost).exception()
    assert error is None


def test_watch_survives_an_error(engine, caplog):
    class Broken(WatchedConnection):
        def abort_if_stuck(self):
            raise RuntimeError("a bug")

    stuck = WatchedConnection(engine, stuck_seconds=0.1)
    watch = StuckConnectionWatch([Broken(engine), stuck])
    watch.start()
    try:
        with pytest.raises(sa.exc.OperationalError), stuck.transaction() as connection:
            connection.execute(sa.text("SELECT pg_sleep(30)"))
    finally:
        watch.stop()
    assert "a bug" in caplog.text
