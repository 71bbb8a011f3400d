"""Spools: their names, and those of earlier releases, which are drained."""

import pytest
import sqlalchemy as sa

from serving.log.database.schema import predictions
from serving.log.existing import open_existing, open_log
from serving.log.queries import count_rows
from serving.log.spool import earlier_spool_files, emptied_spool, spool_file
from tests.support.log_fixtures import (
    MODEL,
    open_prediction_log,
    prediction_rows,
    stored_ids,
)

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]

OTHER_SPELLINGS = {
    "password in the query": "{}&password=hunter2",
    "parameter of the connection": "{}&application_name=service",
}


def parsed(uri: str) -> sa.URL:
    return sa.make_url(uri).set(drivername="postgresql+psycopg")


@pytest.fixture(params=OTHER_SPELLINGS)
def spelled_uri(request, postgres_uri):
    """Another URL of the log, for which earlier releases named the spool otherwise."""
    return OTHER_SPELLINGS[request.param].format(postgres_uri)


@pytest.fixture
def waiting(spelled_uri, spool):
    """Ids of rows in the spool of an earlier release."""
    file = earlier_spool_files(parsed(spelled_uri))[-1]
    file.parent.mkdir()
    rows = prediction_rows(3)
    with open_prediction_log(f"sqlite:///{file}") as log:  # a spool has the tables of a log
        log.record(rows, MODEL, "test")
    return [row.prediction_id for row in rows]


def test_server_drains_earlier_spool(spelled_uri, postgres_uri, waiting):
    with open_prediction_log(spelled_uri):
        pass
    with open_log(postgres_uri):  # an empty spool has nothing to move
        pass
    assert stored_ids(postgres_uri) == sorted(waiting)


def test_export_drains_earlier_spool(spelled_uri, postgres_uri, waiting):
    with open_prediction_log(postgres_uri):
        pass
    with open_log(spelled_uri) as connection:
        assert count_rows(connection, predictions, 10) == 3


def test_errors_of_the_caller_are_not_those_of_the_spool(sqlite_uri):
    with open_prediction_log(sqlite_uri):
        pass
    failing = pytest.raises(sa.exc.OperationalError, match="lost connection")
    with failing, emptied_spool(open_existing(sqlite_uri)) as spool:
        assert spool is not None
        raise sa.exc.OperationalError("DELETE", None, Exception("lost connection"))


PLAIN = "postgresql://me:secret@host/log"


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me:other@host/log",
        "postgresql://me@host/log",
        "postgresql://me@HOST:5432/log",
        "postgresql://me@host/log?sslmode=require&connect_timeout=3",
        "postgresql://me@host/log?sslpassword=secret",
    ],
)
def test_name_ignores_spelling(uri):
    assert spool_file(parsed(uri)) == spool_file(parsed(PLAIN))


def test_name_ignores_order_of_parameters():
    one, other = "host=/run&options=-csearch_path%3Da", "options=-csearch_path%3Da&host=/run"
    names = {spool_file(parsed(f"postgresql://me@/log?{query}")) for query in (one, other)}
    assert len(names) == 1


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://me@host:5433/log",
        "postgresql://me@other/log",
        "postgresql://me@host/log2",
        "postgresql://you@host/log",
        "postgresql://me@host/log?options=-csearch_path%3Da",
    ],
)
def test_other_databases_have_other_names(uri):
    assert spool_file(parsed(uri)) != spool_file(parsed(PLAIN))


def test_default_port_follows_the_environment(monkeypatch):
    monkeypatch.setenv("PGPORT", "5433")
    uri = "postgresql://me@host:5433/log"
    assert spool_file(parsed("postgresql://me@host/log")) == spool_file(parsed(uri))


def test_name_of_common_spelling_is_that_of_earlier_releases():
    assert spool_file(parsed(PLAIN)).name == "51c1c5c6bffd.db"
    assert earlier_spool_files(parsed(PLAIN)) == []


def test_name_ignores_spelling_of_path(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    uris = [
        f"sqlite:///{tmp_path}/data/log.db",
        "sqlite:///data/log.db",
        "sqlite+pysqlite:///link/log.db?timeout=5",
        "sqlite:///data/../data/log.db",
    ]
    assert len({spool_file(sa.make_url(uri)) for uri in uris}) == 1
