"""Export and purge of the prediction log."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from serving.errors import LogUnavailableError
from serving.log.database.engine import connect
from serving.log.database.schema import predictions, shadow_predictions
from serving.log.ground_truth import Label
from serving.log.shadow_predictions import ShadowLog, ShadowPrediction
from serving.model.prediction import ModelIdentity
from steps.prediction_log.export import export
from steps.prediction_log.purge import purge
from steps.runtime.entry_point import parse
from steps.runtime.errors import ParameterError
from tests.support.log_fixtures import (
    MODEL,
    open_prediction_log,
    prediction_rows,
    stored_ids,
    stored_rows,
)
from tests.support.project import PROJECT

pytestmark = pytest.mark.usefixtures("spool")

YEAR = 2025


def on_day(day: int) -> datetime:
    return datetime(YEAR, 1, day, 12, tzinfo=UTC)


@pytest.fixture
def january(uri):
    """Three predictions on each of five days; the last day's by a model of other features."""
    with open_prediction_log(uri) as log:
        for day in range(1, 6):
            model = MODEL if day < 5 else ModelIdentity("fraud", "4", "other")
            mine = prediction_rows(3)
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
def test_export_joins_features_and_latest_label(january, tmp_path, suffix):
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
def test_export_window_excludes_until(january, tmp_path):
    output = tmp_path / "out.parquet"
    assert export(january, output, on_day(2), on_day(4)) == 6
    assert set(read(output)["created_at"]) == {pd.Timestamp(on_day(2)), pd.Timestamp(on_day(3))}
    assert "feature_score" not in read(output)
    nobody = tmp_path / "nobody.csv"
    assert export(january, nobody, on_day(6), None) == 0
    assert "prediction_id" in nobody.read_text()


@pytest.mark.quick
def test_purge_erases_old_rows_and_labels(january, tmp_path):
    kept = [row["prediction_id"] for row in stored_rows(january) if row["created_at"] >= on_day(3)]
    gone = sorted(set(stored_ids(january)) - set(kept))
    removed = purge(january, on_day(3))
    assert (removed.predictions, removed.labels) == (6, 1)
    assert stored_ids(january) == kept
    with open_prediction_log(january) as log:
        assert log.overview(10, 1)[0].labels == 2
    files = list(tmp_path.glob("log.db*"))
    assert bool(files) == january.startswith("sqlite")
    for file in files:
        assert not [one for one in gone if one.encode() in file.read_bytes()]
        assert not file.name.endswith("wal") or not file.stat().st_size
    assert purge(january, on_day(3)).predictions == 0


@pytest.mark.quick
def test_spooled_rows_are_exported_and_purged(sqlite_uri, spool, tmp_path):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(1_000), MODEL, "test")
    (file,) = spool.glob("*.db")
    waiting = prediction_rows(2)
    with open_prediction_log(f"sqlite:///{file}") as log:  # a spool has the tables of a log
        log.record(waiting, MODEL, "test")
    assert export(sqlite_uri, tmp_path / "out.csv", None, None) == 1_002
    assert purge(sqlite_uri, datetime.now(UTC)).predictions == 1_002
    for row in waiting:
        assert row.prediction_id.encode() not in file.read_bytes()
    assert (tmp_path / "log.db").stat().st_size < 120_000  # 440,000 before


@pytest.mark.quick
def test_invalid_requests_change_nothing(january, sqlite_uri, tmp_path):
    output = tmp_path / "out.csv"
    with pytest.raises(ParameterError, match=r"since: .* must be before until"):
        export(january, output, on_day(3), on_day(3))
    with pytest.raises(ParameterError, match="is in the future"):
        purge(january, datetime.now(UTC) + timedelta(days=1))
    (tmp_path / "log.csv").touch()
    nowhere = tmp_path / "none.db"
    for act in (lambda uri: export(uri, output, None, None), lambda uri: purge(uri, on_day(3))):
        with pytest.raises(LogUnavailableError, match=r"no prediction log at .*none\.db"):
            act(f"sqlite:///{nowhere}")
        with pytest.raises(LogUnavailableError, match="Connection refused"):
            act("postgresql://me@127.0.0.1:1/log")
    with pytest.raises(ParameterError, match="exists already"):
        parse(["output"], ["--output", str(tmp_path / "log.csv")], "export_predictions", None)
    (tmp_path / "other.db").touch()
    with pytest.raises(LogUnavailableError, match="holds no prediction log"):
        export(f"sqlite:///{tmp_path}/other.db", output, None, None)
    assert not output.exists()
    assert not nowhere.exists()
    assert len(stored_rows(january)) == 15


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
from steps.prediction_log.export import export
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert export(sys.argv[1], Path(sys.argv[2]), None, None) == int(sys.argv[3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_memory_is_bounded(uri, tmp_path, suffix):
    with open_prediction_log(uri) as log:
        (row,) = prediction_rows(1)
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


@pytest.mark.quick
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_of_texts_keeps_numbers(uri, tmp_path, suffix):
    with open_prediction_log(uri) as log:
        rows = prediction_rows(3)
        for row, job in zip(rows, (None, "clerk", 7), strict=True):
            row.features = {"job": job, "age": 31.5, "member": True}
        log.record(rows, MODEL, "test")
    output = tmp_path / f"out{suffix}"
    assert export(uri, output, None, None) == 3
    table = pd.read_parquet(output) if suffix == ".parquet" else pd.read_csv(output, dtype="object")
    assert set(table["job"].dropna()) == {"7", "clerk"}
    assert table["job"].isna().sum() == 1
    assert table["age"].astype(float).tolist() == [31.5] * 3
    assert list(tmp_path.glob(".out*")) == []


def test_shadow_predictions_are_exported_and_purged_with_their_predictions(january, tmp_path):
    ids = stored_ids(january)
    shadow = ShadowLog(january)
    shadow.write([ShadowPrediction(ids[0], "4", 0.5, 1, on_day(1))])
    shadow.write([ShadowPrediction(ids[3], "4", 0.25, 0, on_day(2))])
    shadow.write([ShadowPrediction("deleted", "4", 0.25, 0, on_day(1))])
    shadow.close()
    export(january, tmp_path / "all.parquet", None, None)
    table = pd.read_parquet(tmp_path / "all.parquet").set_index("prediction_id")
    assert table["shadow_score"].dropna().to_dict() == {ids[0]: 0.5, ids[3]: 0.25}
    assert table.loc[ids[0], ["shadow_model_version", "shadow_label"]].tolist() == ["4", 1]
    purge(january, on_day(2))
    engine = connect(january)
    with engine.connect() as connection:
        kept = connection.execute(sa.select(shadow_predictions.c.prediction_id)).scalars().all()
    engine.dispose()
    assert kept == [ids[3]]
