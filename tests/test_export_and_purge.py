"""The log as a table, and without its old rows."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from serving.errors import LogUnavailableError
from serving.feedback import Label
from serving.prediction import ModelIdentity
from serving.schema import connect, predictions
from steps.export_predictions import export
from steps.pipeline.errors import ParameterError
from steps.pipeline.step import parse
from steps.purge_predictions import purge
from tests.conftest import PROJECT
from tests.log_fixtures import MODEL, ids, opened, rows, stored

pytestmark = pytest.mark.usefixtures("spool")

YEAR = 2025


def on_day(day: int) -> datetime:
    return datetime(YEAR, 1, day, 12, tzinfo=UTC)


@pytest.fixture
def january(uri):
    """Three predictions on each of five days; the last day's by a model of other features."""
    with opened(uri) as log:
        for day in range(1, 6):
            model = MODEL if day < 5 else ModelIdentity("fraud", "4", "other")
            mine = rows(3)
            if day == 5:
                for row in mine:
                    row.features = {"V1": 5.0, "score": 7.0}
            log.record(mine, model, "test")
            engine = connect(uri)
            with engine.begin() as connection:
                connection.execute(
                    predictions.update()
                    .where(predictions.c.prediction_id.in_([row.prediction_id for row in mine]))
                    .values(created_at=on_day(day))
                )
            engine.dispose()
        log.feedback([Label(1, entity_id="card-1", observed_at=on_day(4))])
        log.feedback([Label(0, entity_id="card-1", observed_at=on_day(4))])
        log.feedback([Label(1, entity_id="card-2", observed_at=on_day(2))])
    return uri


def read(file):
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    moments = ["created_at", "observed_at"]
    return pd.read_csv(file, parse_dates=moments, dtype={"model_version": str})


@pytest.mark.quick
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_features_are_columns_joined_with_the_latest_truth(january, tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    assert export(january, output, None, None) == 15
    table = read(output)
    assert table["prediction_id"].nunique() == 15
    assert table["created_at"].is_monotonic_increasing
    assert table["created_at"].iloc[0] == pd.Timestamp(on_day(1))
    assert table["V1"].tolist() == [0.0, 1.0, 2.0] * 4 + [5.0] * 3
    assert table["V2"].isna().all()
    assert table["feature_score"].isna().tolist() == [True] * 12 + [False] * 3
    assert table["score"].tolist() == [0.0, 0.25, 0.5] * 5
    assert table["model_version"].tolist() == ["3"] * 12 + ["4"] * 3
    known = table.dropna(subset="true_label").set_index(["entity_id", "created_at"])["true_label"]
    assert known.to_dict() == {
        ("card-2", pd.Timestamp(on_day(1))): 1,
        ("card-1", pd.Timestamp(on_day(3))): 0,
    }
    assert [file.name for file in tmp_path.glob("*out*")] == [output.name]


@pytest.mark.quick
def test_a_window_begins_with_since_and_ends_before_until(january, tmp_path):
    output = tmp_path / "out.parquet"
    assert export(january, output, on_day(2), on_day(4)) == 6
    assert set(read(output)["created_at"]) == {pd.Timestamp(on_day(2)), pd.Timestamp(on_day(3))}
    assert "feature_score" not in read(output)
    nobody = tmp_path / "nobody.csv"
    assert export(january, nobody, on_day(6), None) == 0
    assert "prediction_id" in nobody.read_text()


@pytest.mark.quick
def test_purge_removes_old_rows_and_their_labels_for_good(january, tmp_path):
    kept = [row["prediction_id"] for row in stored(january) if row["created_at"] >= on_day(3)]
    gone = sorted(set(ids(january)) - set(kept))
    removed = purge(january, on_day(3))
    assert (removed.predictions, removed.labels) == (6, 1)
    assert ids(january) == kept
    with opened(january) as log:
        assert log.counts().labels == 2
    files = list(tmp_path.glob("log.db*"))
    assert bool(files) == january.startswith("sqlite")
    for file in files:
        assert not [one for one in gone if one.encode() in file.read_bytes()]
        assert not file.name.endswith("wal") or not file.stat().st_size
    assert purge(january, on_day(3)).predictions == 0


@pytest.mark.quick
def test_what_waits_in_the_spool_is_exported_and_purged_too(sqlite_uri, spool, tmp_path):
    with opened(sqlite_uri) as log:
        log.record(rows(1_000), MODEL, "test")
    (file,) = spool.glob("*.db")
    waiting = rows(2)
    with opened(f"sqlite:///{file}") as log:  # a spool has the tables of a log
        log.record(waiting, MODEL, "test")
    assert export(sqlite_uri, tmp_path / "out.csv", None, None) == 1_002
    assert purge(sqlite_uri, datetime.now(UTC)).predictions == 1_002
    for row in waiting:
        assert row.prediction_id.encode() not in file.read_bytes()
    assert (tmp_path / "log.db").stat().st_size < 100_000  # 320,000 before


@pytest.mark.quick
def test_bad_requests_are_refused_and_change_nothing(january, sqlite_uri, tmp_path):
    output = tmp_path / "out.csv"
    with pytest.raises(ParameterError, match=r"since: .* must be before until"):
        export(january, output, on_day(3), on_day(3))
    with pytest.raises(ParameterError, match="lies in the future"):
        purge(january, datetime.now(UTC) + timedelta(days=1))
    (tmp_path / "log.csv").touch()
    nowhere = tmp_path / "none.db"
    for act in (lambda uri: export(uri, output, None, None), lambda uri: purge(uri, on_day(3))):
        with pytest.raises(LogUnavailableError, match=r"no prediction log at .*none\.db"):
            act(f"sqlite:///{nowhere}")
        with pytest.raises(LogUnavailableError, match="Connection refused"):
            act("postgresql://me@127.0.0.1:1/log")
    with pytest.raises(ParameterError, match="is there already"):
        parse(["output"], ["--output", str(tmp_path / "log.csv")], "export_predictions", None)
    (tmp_path / "other.db").touch()
    with pytest.raises(LogUnavailableError, match="holds no prediction log"):
        export(f"sqlite:///{tmp_path}/other.db", output, None, None)
    assert not output.exists()
    assert not nowhere.exists()
    assert len(stored(january)) == 15


MANY = 100_000
MULTIPLY = f"""
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY} - 1)
    INSERT INTO predictions
        (prediction_id, row_index, created_at, score, label, threshold, features, source)
    SELECT 'p' || i, row_index, created_at, score, label, threshold, features, source
    FROM n, (SELECT * FROM predictions) AS one"""
MEASURE = """
import resource, sys
from pathlib import Path
from steps.export_predictions import export
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert export(sys.argv[1], Path(sys.argv[2]), None, None) == int(sys.argv[3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_export_of_any_size_takes_little_memory(uri, tmp_path, suffix):
    with opened(uri) as log:
        (row,) = rows(1)
        row.features = {f"V{i}": i / 7 for i in range(29)}
        log.record([row], MODEL, "test")
    engine = connect(uri)
    with engine.begin() as connection:
        connection.exec_driver_sql(MULTIPLY)
    engine.dispose()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, uri, str(tmp_path / f"out{suffix}"), str(MANY)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150, "MB"


def test_the_entry_points_work_with_their_defaults(workspace, tmp_path):
    uri, output = f"sqlite:///{tmp_path}/log.db", tmp_path / "out.parquet"
    with opened(uri) as log:
        log.record(rows(3), MODEL, "test")
    done = workspace.run("export_predictions", output=str(output), log_uri=uri)
    assert done.returncode == 0, done.stderr
    assert "3 predictions" in done.stderr + done.stdout
    assert len(read(output)) == 3
    done = workspace.run("purge_predictions", before="2020-01-01", log_uri=uri)
    assert done.returncode == 0, done.stderr
    assert "removed 0 predictions and 0 labels" in done.stderr + done.stdout
