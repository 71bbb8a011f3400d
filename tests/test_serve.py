"""Served champions: real servers, real requests, real crashes."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import requests

from tests.conftest import PROJECT, logged, serving
from tests.log_fixtures import wait_until

ENGINES = ("h2o", "pycaret", "spark")
# H2O's is a MOJO; what holds of that and of the run's own champion, an ONNX, seldom fails here.
ALSO_ONNX = pytest.param("pycaret", marks=pytest.mark.slow)


@pytest.fixture(scope="session")
def rows():
    """Ten real transactions: frauds and others."""
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    return sample.groupby("Class").head(5).drop(columns=["Time", "Class"]).reset_index(drop=True)


@pytest.fixture
def database(tmp_path):
    return tmp_path / "predictions.db"


@pytest.fixture
def served(workspace, finished, database):
    """Start servers that log into `database`."""

    def start(*options, model="credit-card-fraud", **extra):
        uri = f"sqlite:///{database}"
        return serving(workspace, model, *options, PREDICTION_LOG_URI=uri, **extra)

    return start


@pytest.mark.parametrize("engine", ENGINES)
def test_a_champion_of_each_engine_answers_and_logs(served, champion_of, rows, database, engine):
    name = champion_of(engine)
    with served(model=name) as server:
        answers = server.predict(rows.assign(id=range(len(rows))))
    found = logged(database)
    assert [row["prediction_id"] for row in found] == [a["prediction_id"] for a in answers]
    for i, (row, answer) in enumerate(zip(found, answers, strict=True)):
        assert row["score"] == answer["score"]
        assert row["label"] == answer["label"] == int(row["score"] >= row["threshold"])
        assert row["entity_id"] == str(i)
        assert row["row_index"] == i
        assert (row["model_name"], row["model_version"]) == (name, "1")
        assert row["run_id"]
        assert row["source"] == "mlflow models serve"
    assert [a["label"] for a in answers[:2]] != [a["label"] for a in answers[-2:]]


def test_the_default_log_is_a_file_in_the_current_folder(workspace, finished, rows):
    with serving(workspace, "credit-card-fraud") as server:
        answers = server.predict(rows)
    found = {row["prediction_id"] for row in logged(workspace.folder / "predictions.db")}
    assert {answer["prediction_id"] for answer in answers} <= found


def test_logging_can_be_turned_off(served, rows, database):
    with served(PREDICTION_LOG="off") as server:
        assert len(server.predict(rows)) == len(rows)
    assert not database.exists()


@pytest.mark.parametrize("engine", ["h2o", ALSO_ONNX])
def test_with_uv_and_its_own_slim_environment(
    workspace, champion_of, rows, database, tmp_path, engine
):
    with serving(
        workspace,
        champion_of(engine),
        manager="uv",
        PREDICTION_LOG_URI=f"sqlite:///{database}",
        MLFLOW_ENV_ROOT=str(tmp_path / "envs"),
    ) as server:
        server.predict(rows)
    assert len(logged(database)) == len(rows)


@pytest.mark.parametrize("engine", ["h2o", ALSO_ONNX])
def test_every_answered_row_survives_a_kill(served, champion_of, rows, database, engine):
    name = champion_of(engine)
    answered: list[str] = []
    with served("--workers", "2", model=name) as server:
        enough = threading.Event()

        def ask() -> None:
            while True:
                try:
                    answers = server.predict(rows)
                except (requests.RequestException, ValueError):
                    return  # killed
                answered.extend(a["prediction_id"] for a in answers)
                if len(answered) >= 400:
                    enough.set()

        with ThreadPoolExecutor(6) as pool:
            for _ in range(6):
                pool.submit(ask)
            assert enough.wait(120)
            server.kill()
    with served(model=name) as server:  # opens what the crash left
        answered.extend(a["prediction_id"] for a in server.predict(rows))
    stored = [row["prediction_id"] for row in logged(database)]
    assert len(set(answered)) == len(answered)
    assert set(answered) <= set(stored)
    assert len(set(stored)) == len(stored)


def test_a_retry_answers_the_same_and_is_logged_once(served, rows, database):
    with served() as server:
        first = server.predict(rows, request_id="order-1")
        assert server.predict(rows, request_id="order-1") == first
        server.kill()
    with served() as server:
        assert server.predict(rows, request_id="order-1") == first
        other = server.post(
            {
                "dataframe_split": rows.head(3).to_dict("split"),
                "params": {"request_id": "order-1"},
            }
        )
    assert other.status_code == 409
    assert "order-1" in other.json()["message"]
    assert len(logged(database)) == len(rows)


def test_while_the_log_is_away_rows_are_spooled_and_keys_refused(served, rows, database, tmp_path):
    with served("--workers", "2", MLPIPES_SPOOL=str(tmp_path / "spool")) as server:
        answers = server.predict(rows)
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        for _ in range(4):
            answers += server.predict(rows)
        refused = server.post(
            {"dataframe_split": rows.to_dict("split"), "params": {"request_id": "order-1"}}
        )
        assert refused.status_code == 503
        assert "cannot be written" in refused.json()["message"]
        assert "Traceback" not in refused.text
        assert "prediction_id" not in refused.text
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE gone RENAME TO predictions")
        wait_until(lambda: len(logged(database)) == 5 * len(rows))
    stored = {row["prediction_id"] for row in logged(database)}
    assert stored == {answer["prediction_id"] for answer in answers}


def test_what_can_be_made_durable_nowhere_is_not_answered(served, rows, database):
    with served(MLPIPES_SPOOL="/dev/null") as server:
        server.predict(rows)
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        refused = server.post({"dataframe_split": rows.to_dict("split")})
        assert refused.status_code == 503
        assert "cannot be written" in refused.json()["message"]
        assert "prediction_id" not in refused.text


def test_a_request_id_that_cannot_be_stored_is_the_callers_fault(served, rows, database):
    with served() as server:
        for request_id in ("x" * 256, "a\0b", "\ud800"):
            answer = server.post(
                {
                    "dataframe_split": rows.to_dict("split"),
                    "params": {"request_id": request_id},
                }
            )
            assert answer.status_code == 400
            assert "Traceback" not in answer.text
    assert logged(database) == []


BAD_INPUT = {
    "missing column": lambda rows: rows.drop(columns="V7"),
    "null": lambda rows: rows.assign(V7=None),
    "text": lambda rows: rows.assign(V7="much"),
}


def test_bad_input_is_the_callers_fault_and_never_logged(served, rows, database):
    with served() as server:
        for name, spoil in BAD_INPUT.items():
            answer = server.post({"dataframe_split": spoil(rows).to_dict("split")})
            assert answer.status_code == 400, name
            assert "V7" in answer.json()["message"]
    assert logged(database) == []


def test_ids_may_be_numbers_strings_or_missing(served, rows, database):
    with served() as server:
        for keys in ([1, 2, 3], ["a", "b", "c"], ["a", None, "c"], [1, None, 3]):
            server.predict(rows.head(3).assign(id=keys))
        csv = rows.head(3).assign(id=[7, 8, 9]).to_csv(index=False)
        answer = requests.post(
            f"{server.url}/invocations", data=csv, headers={"Content-Type": "text/csv"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
    keys = [row["entity_id"] for row in logged(database)]
    assert keys == [*"123", *"abc", "a", None, "c", "1", None, "3", *"789"]


def test_no_rows_no_predictions(served, rows, database):
    with served() as server:
        assert server.predict(rows.head(0)) == []
    assert logged(database) == []


NOTEBOOK = """
import sys, mlflow, pandas as pd
rows = pd.read_parquet(sys.argv[1]).head(5).drop(columns=["Time", "Class"])
champion = mlflow.pyfunc.load_model("models:/credit-card-fraud@champion")
assert len(champion.predict(rows)) == 5
"""

SPARK = """
import sys, mlflow
from serving.java import use_java
use_java()
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
champion = "models:/credit-card-fraud@champion"
score = mlflow.pyfunc.spark_udf(spark, champion, result_type="score double")
rows = spark.read.parquet(sys.argv[1]).limit(5).drop("Time", "Class")
assert rows.select(score(*rows.columns)).count() == 5
assert rows.select(score(*rows.columns).alias("s")).collect()[0]["s"]["score"] >= 0
"""


@pytest.mark.parametrize("script", [NOTEBOOK, SPARK], ids=["notebook", "spark_udf"])
def test_prediction_outside_a_server_logs_nothing(workspace, finished, database, tmp_path, script):
    done = subprocess.run(
        [sys.executable, "-c", script, str(PROJECT / "data" / "creditcard_sample.parquet")],
        cwd=workspace.folder,
        env=workspace.environment(
            PREDICTION_LOG_URI=f"sqlite:///{database}", PYTHONPATH=str(PROJECT)
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not database.exists()


def test_mlflow_models_predict_logs_nothing(workspace, finished, rows, database, tmp_path):
    rows.to_csv(tmp_path / "rows.csv", index=False)
    done = workspace.mlflow(
        *("models", "predict", "-m", "models:/credit-card-fraud@champion", "-t", "csv"),
        *("-i", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "out.json")),
        *("--env-manager", "local"),
        PREDICTION_LOG_URI=f"sqlite:///{database}",
    )
    assert done.returncode == 0, done.stderr
    assert "prediction_id" in (tmp_path / "out.json").read_text()
    assert not database.exists()
