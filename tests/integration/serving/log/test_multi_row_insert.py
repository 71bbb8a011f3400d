"""SQLite files of the prediction log: statements for many rows, and pages."""

import pytest
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.database.multi_row_insert import MIN_SHARING, insert_rows
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows

pytestmark = pytest.mark.quick

# Without a type, a column stores values as they are.
TABLE = sa.Table(
    "mixed",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("shared", sa.types.NullType()),
    sa.Column("value", sa.types.NullType()),
)


@pytest.mark.parametrize("n_rows", [1, MIN_SHARING - 1, MIN_SHARING, 1_024])
@pytest.mark.parametrize("last", ["a", 1.0, None, b"1"])
def test_each_row_keeps_its_values(sqlite_uri, n_rows, last):
    rows = [(row, "the same", 1) for row in range(n_rows - 1)] + [(n_rows - 1, "the same", last)]
    engine = connect(sqlite_uri)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE mixed (id INTEGER PRIMARY KEY, shared, value)")
        insert_rows(connection, TABLE, rows, ignore_present=False)
        insert_rows(connection, TABLE, rows, ignore_present=True)
        found = connection.exec_driver_sql("SELECT * FROM mixed ORDER BY id").fetchall()
    engine.dispose()
    assert [tuple(row) for row in found] == rows
    assert type(found[-1].value) is type(last)


@pytest.mark.usefixtures("spool")
def test_new_log_has_large_pages(sqlite_uri):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
    engine = connect(sqlite_uri)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA page_size").scalar() == 8192
        assert connection.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
    engine.dispose()
