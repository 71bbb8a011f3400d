"""Champions served by `mlflow models serve`."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import requests

from tests.support.log_fixtures import logged_rows
from tests.support.project import PROJECT, SAMPLE_FILE
from tests.support.servers import mlflow_server
from tests.support.waiting import wait_until

ENGINES = ("h2o", "pycaret", "spark")
# H2O's is a MOJO; what holds of that and of the run's own champion, an ONNX, seldom fails here.
ALSO_ONNX = pytest.param("pycaret", marks=pytest.mark.slow)


@pytest.fixture(scope="session")
def transactions():
    """Ten real transactions: frauds and others."""
    sample = pd.read_parquet(SAMPLE_FILE)
    return sample.groupby("Class").head(5).drop(columns=["Time", "Class"]).reset_index(drop=True)


@pytest.fixture
def database(tmp_path):
    return tmp_path / "predictions.db"


@pytest.fixture
def start_server(workspace, completed_run, database):
    """Start servers that log into `database`."""

    def start(*options, model="credit-card-fraud", **extra):
        uri = f"sqlite:///{database}"
        return mlflow_server(workspace, model, *options, PREDICTION_LOG_URI=uri, **extra)

    return start


@pytest.fixture(scope="module")
def shared_log(tmp_path_factory):
    return tmp_path_factory.mktemp("shared") / "predictions.db"


@pytest.fixture(scope="module")
def shared_server(workspace, completed_run, shared_log):
    """A server for tests that leave it as it is."""
    uri = f"sqlite:///{shared_log}"
    with mlflow_server(workspace, "credit-card-fraud", PREDICTION_LOG_URI=uri) as server:
        yield server


@pytest.fixture
def new_rows(shared_server, shared_log):
    """A function that returns what the shared server has logged since the test began."""
    before = len(logged_rows(shared_log))
    return lambda: logged_rows(shared_log)[before:]


@pytest.mark.parametrize("engine", ENGINES)
def test_champion_of_each_engine_answers_and_logs(
    start_server, engine_champion, transactions, database, engine
):
    name = engine_champion(engine)
    with start_server(model=name) as server:
        answers = server.predict(transactions.assign(id=range(len(transactions))))
    found = logged_rows(database)
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


def test_default_log_is_in_current_folder(workspace, completed_run, transactions):
    with mlflow_server(workspace, "credit-card-fraud") as server:
        answers = server.predict(transactions)
    found = {row["prediction_id"] for row in logged_rows(workspace.folder / "predictions.db")}
    assert {answer["prediction_id"] for answer in answers} <= found


def test_logging_can_be_turned_off(start_server, transactions, database):
    with start_server(PREDICTION_LOG="off") as server:
        assert len(server.predict(transactions)) == len(transactions)
    assert not database.exists()


@pytest.mark.parametrize("engine", ["h2o", ALSO_ONNX])
def test_champion_is_served_in_uv_environment(
    workspace, engine_champion, transactions, database, tmp_path, engine
):
    with mlflow_server(
        workspace,
        engine_champion(engine),
        manager="uv",
        PREDICTION_LOG_URI=f"sqlite:///{database}",
        MLFLOW_ENV_ROOT=str(tmp_path / "envs"),
    ) as server:
        server.predict(transactions)
    assert len(logged_rows(database)) == len(transactions)


@pytest.mark.parametrize("engine", ["h2o", ALSO_ONNX])
def test_killed_server_loses_no_answered_row(
    start_server, engine_champion, transactions, database, engine
):
    name = engine_champion(engine)
    answered: list[str] = []
    with start_server("--workers", "2", model=name) as server:
        enough = threading.Event()

        def ask() -> None:
            while True:
                try:
                    answers = server.predict(transactions)
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
    with start_server(model=name) as server:  # opens what the crash left
        answered.extend(a["prediction_id"] for a in server.predict(transactions))
    stored = [row["prediction_id"] for row in logged_rows(database)]
    assert len(set(answered)) == len(answered)
    assert set(answered) <= set(stored)
    assert len(set(stored)) == len(stored)


def test_retry_returns_stored_answer(start_server, transactions, database):
    with start_server() as server:
        first = server.predict(transactions, request_id="order-1")
        assert server.predict(transactions, request_id="order-1") == first
        server.kill()
    with start_server() as server:
        assert server.predict(transactions, request_id="order-1") == first
        other = server.post(
            {
                "dataframe_split": transactions.head(3).to_dict("split"),
                "params": {"request_id": "order-1"},
            }
        )
    assert other.status_code == 409
    assert "order-1" in other.json()["message"]
    assert len(logged_rows(database)) == len(transactions)


def test_unavailable_log_spools_rows_and_refuses_request_ids(
    start_server, transactions, database, tmp_path
):
    with start_server("--workers", "2", MLPIPES_SPOOL=str(tmp_path / "spool")) as server:
        answers = server.predict(transactions)
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        for _ in range(4):
            answers += server.predict(transactions)
        refused = server.post(
            {"dataframe_split": transactions.to_dict("split"), "params": {"request_id": "order-1"}}
        )
        assert refused.status_code == 503
        assert "cannot be written" in refused.json()["message"]
        assert "Traceback" not in refused.text
        assert "prediction_id" not in refused.text
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE gone RENAME TO predictions")
        wait_until(lambda: len(logged_rows(database)) == 5 * len(transactions))
    stored = {row["prediction_id"] for row in logged_rows(database)}
    assert stored == {answer["prediction_id"] for answer in answers}


def test_unpersistable_rows_are_not_answered(start_server, transactions, database):
    with start_server(MLPIPES_SPOOL="/dev/null") as server:
        server.predict(transactions)
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE predictions RENAME TO gone")
        refused = server.post({"dataframe_split": transactions.to_dict("split")})
        assert refused.status_code == 503
        assert "cannot be written" in refused.json()["message"]
        assert "prediction_id" not in refused.text


def test_unstorable_request_id_is_client_error(shared_server, new_rows, transactions):
    for request_id in ("x" * 256, "a\0b", "\ud800"):
        answer = shared_server.post(
            {
                "dataframe_split": transactions.to_dict("split"),
                "params": {"request_id": request_id},
            }
        )
        assert answer.status_code == 400
        assert "Traceback" not in answer.text
    assert new_rows() == []


BAD_INPUT = {
    "missing column": lambda rows: rows.drop(columns="V7"),
    "null": lambda rows: rows.assign(V7=None),
    "text": lambda rows: rows.assign(V7="much"),
}


def test_bad_input_is_client_error(shared_server, new_rows, transactions):
    for name, spoil in BAD_INPUT.items():
        answer = shared_server.post({"dataframe_split": spoil(transactions).to_dict("split")})
        assert answer.status_code == 400, name
        assert "V7" in answer.json()["message"]
    assert new_rows() == []


def test_ids_may_be_numbers_strings_or_missing(shared_server, new_rows, transactions):
    for keys in ([1, 2, 3], ["a", "b", "c"], ["a", None, "c"], [1, None, 3]):
        shared_server.predict(transactions.head(3).assign(id=keys))
    csv = transactions.head(3).assign(id=[7, 8, 9]).to_csv(index=False)
    answer = requests.post(
        f"{shared_server.url}/invocations",
        data=csv,
        headers={"Content-Type": "text/csv"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    keys = [row["entity_id"] for row in new_rows()]
    assert keys == [*"123", *"abc", "a", None, "c", "1", None, "3", *"789"]


def test_empty_request_has_no_predictions(shared_server, new_rows, transactions):
    assert shared_server.predict(transactions.head(0)) == []
    assert new_rows() == []


NOTEBOOK = """
import sys, mlflow, pandas as pd
rows = pd.read_parquet(sys.argv[1]).head(5).drop(columns=["Time", "Class"])
champion = mlflow.pyfunc.load_model("models:/credit-card-fraud@champion")
assert len(champion.predict(rows)) == 5
"""

SPARK = """
import sys, mlflow
from serving.model.java import use_java
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
def test_prediction_outside_server_is_not_logged(
    workspace, completed_run, database, tmp_path, script
):
    done = subprocess.run(
        [sys.executable, "-c", script, str(SAMPLE_FILE)],
        cwd=workspace.folder,
        env=workspace.environment(
            PREDICTION_LOG_URI=f"sqlite:///{database}", PYTHONPATH=str(PROJECT)
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not database.exists()


def test_mlflow_models_predict_is_not_logged(
    workspace, completed_run, transactions, database, tmp_path
):
    transactions.to_csv(tmp_path / "rows.csv", index=False)
    done = workspace.mlflow(
        *("models", "predict", "-m", "models:/credit-card-fraud@champion", "-t", "csv"),
        *("-i", str(tmp_path / "rows.csv"), "-o", str(tmp_path / "out.json")),
        *("--env-manager", "local"),
        PREDICTION_LOG_URI=f"sqlite:///{database}",
    )
    assert done.returncode == 0, done.stderr
    assert "prediction_id" in (tmp_path / "out.json").read_text()
    assert not database.exists()
