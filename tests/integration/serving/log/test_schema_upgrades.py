"""Prediction logs of other schema versions."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from serving.errors import LogUnavailableError
from serving.log.database.engine import connect
from serving.log.database.migrations import SCHEMA_VERSION
from serving.log.database.schema import schema_version
from serving.log.prediction_log import PredictionLog
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows, stored_rows

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]

# What the first release created, and a user's view.
VERSION_1 = """
CREATE TABLE predictions (
    prediction_id VARCHAR(36) NOT NULL PRIMARY KEY, request_id VARCHAR(255),
    row_index INTEGER NOT NULL, entity_id VARCHAR(255), created_at {moment} NOT NULL,
    model_name VARCHAR(255), model_version VARCHAR(32), run_id VARCHAR(64),
    score DOUBLE PRECISION NOT NULL, label INTEGER NOT NULL, threshold DOUBLE PRECISION NOT NULL,
    features JSON NOT NULL, source VARCHAR(64) NOT NULL);
CREATE INDEX ix_predictions_request_id ON predictions (request_id);
CREATE INDEX ix_predictions_entity_id ON predictions (entity_id);
CREATE TABLE ground_truth (
    id {serial} NOT NULL PRIMARY KEY, prediction_id VARCHAR(36), entity_id VARCHAR(255),
    label INTEGER NOT NULL, observed_at {moment} NOT NULL, recorded_at {moment} NOT NULL);
CREATE INDEX ix_ground_truth_prediction_id ON ground_truth (prediction_id);
CREATE INDEX ix_ground_truth_entity_id ON ground_truth (entity_id);
INSERT INTO predictions VALUES ('p1', 'r1', 0, 'card-0', '2026-01-01 10:00:00.000000', 'fraud',
    '3', 'run', 0.0, 0, 0.5, '{{"V1": 0.0, "V2": null}}', 'test');
INSERT INTO predictions VALUES ('p2', NULL, 0, 'card-0', '2026-01-03 10:00:00.000000', 'fraud',
    '3', 'run', 0.75, 1, 0.5, '{{"V1": 1.0, "V2": null}}', 'test');
INSERT INTO ground_truth VALUES (1, NULL, 'card-0', 1, '2026-01-02 10:00:00.000000',
    '2026-01-04 10:00:00.000000');
CREATE VIEW frauds AS SELECT * FROM predictions WHERE label = 1;
"""
TYPES = {
    "sqlite": {"moment": "DATETIME", "serial": "INTEGER"},
    "postgresql": {"moment": "TIMESTAMP WITH TIME ZONE", "serial": "SERIAL"},
}


@pytest.fixture
def older_log(uri):
    engine = connect(uri)
    with engine.begin() as connection:
        for statement in VERSION_1.format(**TYPES[engine.dialect.name]).strip().split(";\n"):
            connection.exec_driver_sql(statement.rstrip(";").replace("%", "%%"))
    engine.dispose()
    return uri


def schema_of(uri):
    """Columns, indexes and constraints, whatever their order."""
    engine = connect(uri)
    inspector = sa.inspect(engine)
    found = {}
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (str(column["type"]), column["nullable"])
            for column in inspector.get_columns(table)
        }
        indexes = {
            index["name"]: (
                index["column_names"],
                list(map(str, index["dialect_options"].values())),
            )
            for index in inspector.get_indexes(table)
        }
        found[table] = (columns, indexes, inspector.get_pk_constraint(table))
    engine.dispose()
    return found


def test_older_log_keeps_its_rows(older_log):
    with open_prediction_log(older_log) as log:
        assert len(log.record(prediction_rows(2), MODEL, "test")) == 2
        retry = log.record(prediction_rows(1, "r1"), MODEL, "test", "r1")
        assert [row.prediction_id for row in retry] == ["p1"]
        truth = {row.prediction_id: row.true_label for row in log.page().predictions}
    assert (truth["p1"], truth["p2"]) == (1, None)
    assert len(stored_rows(older_log)) == 4
    engine = connect(older_log)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM frauds").scalar_one() == 1
    engine.dispose()


def test_upgraded_schema_equals_new_schema(older_log, tmp_path):
    with open_prediction_log(older_log):
        upgraded = schema_of(older_log)
    engine = connect(older_log)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW frauds")
        for table in upgraded:
            connection.exec_driver_sql(f"DROP TABLE {table}")
    engine.dispose()
    with open_prediction_log(older_log):
        assert schema_of(older_log) == upgraded


def test_log_of_an_earlier_release_gets_the_index_of_the_order(uri):
    with open_prediction_log(uri) as log:
        log.record(prediction_rows(3), MODEL, "test")
    expected = schema_of(uri)
    engine = connect(uri)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_predictions_in_order")
        connection.exec_driver_sql(
            "CREATE INDEX ix_predictions_by_time ON predictions (created_at)"
        )
    engine.dispose()
    with open_prediction_log(uri) as log:
        assert len(log.page().predictions) == 3
    assert schema_of(uri) == expected


def test_concurrent_upgrades(older_log):
    with ThreadPoolExecutor(4) as pool, ExitStack() as stack:
        for log in pool.map(PredictionLog, [older_log] * 4):
            stack.callback(log.close)
            log.record(prediction_rows(1), MODEL, "test")
    assert len(stored_rows(older_log)) == 6


def test_newer_log_is_refused_unchanged(uri):
    with open_prediction_log(uri):
        pass
    engine = connect(uri)
    with engine.begin() as connection:
        connection.execute(schema_version.update().values(version=SCHEMA_VERSION + 1))
    with pytest.raises(LogUnavailableError, match=f"version {SCHEMA_VERSION + 1}.*update ml-pipes"):
        PredictionLog(uri)
    with engine.connect() as connection:
        found = connection.execute(sa.select(schema_version.c.version)).scalar_one()
    engine.dispose()
    assert found == SCHEMA_VERSION + 1
