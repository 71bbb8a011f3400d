"""The service as a process: champion changes, crashes and workers."""

import json
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from tests.support.log_fixtures import logged_rows, stopped_postgresql
from tests.support.project import TWO_ROWS_FILE, TWO_ROWS_SPLIT_FILE
from tests.support.service_fixtures import service_process
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import wait_until

TWO_ROWS = json.loads(TWO_ROWS_FILE.read_text())
CHAMPION = "credit-card-fraud"


def predict(server, rows=TWO_ROWS, key=None, timeout=30):
    headers = {"Idempotency-Key": key} if key else {}
    return requests.post(f"{server.url}/predict", json=rows, headers=headers, timeout=timeout)


@contextmanager
def concurrent_requests(server, ask, callers=6):
    """Let callers ask again and again; stop them at the end. Yields what they were answered."""
    answers, stop = [], threading.Event()

    def call(caller):
        session = requests.Session()
        while not stop.is_set():
            try:
                answers.append(ask(session, caller))
            except (
                requests.ConnectionError,
                requests.ReadTimeout,
                requests.exceptions.ChunkedEncodingError,  # killed within an answer
            ):
                return  # the server is gone

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, caller) for caller in range(callers)]
        try:
            yield answers
        finally:
            stop.set()
        for one in calls:
            one.result()


def test_example_rows_of_real_champion(shared_service):
    answer = predict(shared_service).json()
    split = json.loads(TWO_ROWS_SPLIT_FILE.read_text())
    same = shared_service.post(split).json()["predictions"]
    model = requests.get(f"{shared_service.url}/model", timeout=30).json()
    assert [row["label"] for row in answer["predictions"]] == [1, 0]
    assert [row["id"] for row in answer["predictions"]] == ["116139", "256736"]
    assert answer["model"] == {"name": CHAMPION, "version": "1"}
    assert [row["score"] for row in same] == [row["score"] for row in answer["predictions"]]
    assert model["version"] == "1"
    assert len(model["features"]) == 29
    assert (model["target"], model["classes"], model["id_column"]) == ("Class", ["0", "1"], "id")
    assert 0.5 < model["metrics"]["test_ks"] <= 1
    page = requests.get(f"{shared_service.url}/predictions?limit=4", timeout=30).json()[
        "predictions"
    ]
    assert {row["prediction_id"] for row in page} == {
        row["prediction_id"] for row in [*answer["predictions"], *same]
    }
    assert {(row["model_name"], row["model_version"]) for row in page} == {(CHAMPION, "1")}


def test_ten_thousand_labels_in_one_call(shared_service):
    rows = {name: values[:1] * 10_000 for name, values in TWO_ROWS.items()}
    given = predict(shared_service, rows | {"id": list(range(10_000))}).json()["predictions"]
    labels = [{"id": row["id"], "label": 1} for row in given]
    answer = requests.post(f"{shared_service.url}/feedback", json={"labels": labels}, timeout=30)
    assert answer.json() == {"recorded": 10_000, "unknown": []}


@pytest.fixture
def registry(workspace, completed_run, monkeypatch):
    """A client of the finished run's registry."""
    # MLflow looks for the source of a new version there, whatever the client says.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.tracking_uri)
    return workspace.client


def register(client, name, source, run_id):
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    return client.create_model_version(name, source, run_id).version


def test_champion_changes_under_load(registry, serving_workspace, engine_champion, tmp_path):
    """ONNX, MOJO, one that is broken, and back: no request fails, each version answers as it
    does alone.
    """
    client, name = registry, "follow"
    sources = [
        client.get_model_version_by_alias(model, "champion")
        for model in (CHAMPION, engine_champion("h2o"))
    ]
    versions = [register(client, name, found.source, found.run_id) for found in sources]
    broken = write_tiny_model(tmp_path / "broken")
    (broken / "artifacts" / "scorer" / "model.onnx").write_bytes(b"no graph")
    versions.append(register(client, name, str(broken), sources[0].run_id))
    onnx, mojo, bad = map(str, versions)
    client.set_registered_model_alias(name, "champion", onnx)

    def ask(session, caller):
        answer = session.post(f"{server.url}/predict", json=TWO_ROWS, timeout=30)
        assert answer.status_code == 200, answer.text
        content = answer.json()
        scores = tuple(row["score"] for row in content["predictions"])
        return content["model"]["version"], scores

    settings = {"MLPIPES_MODEL_URI": f"models:/{name}@champion", "MLPIPES_POLL_SECONDS": "0.2"}
    with (
        service_process(serving_workspace, **settings) as server,
        concurrent_requests(server, ask) as answers,
    ):

        def model():
            return requests.get(f"{server.url}/model", timeout=30).json()

        def follows(version):
            client.set_registered_model_alias(name, "champion", version)
            wait_until(lambda: model()["version"] == version)
            seen = len(answers)
            wait_until(lambda: len(answers) > seen + 50)

        follows(mojo)
        client.set_registered_model_alias(name, "champion", bad)
        wait_until(lambda: model()["trouble"])
        assert "model.onnx" in model()["trouble"]
        assert model()["version"] == mojo
        metrics = requests.get(f"{server.url}/metrics", timeout=30).text
        assert re.search(r"(?m)^mlpipes_champion_load_failures_total [1-9]", metrics)
        follows(onnx)
        assert model()["trouble"] is None
    assert {version for version, _ in answers} == {onnx, mojo}
    by_version = {version: {s for v, s in answers if v == version} for version in (onnx, mojo)}
    assert {version: len(scores) for version, scores in by_version.items()} == {onnx: 1, mojo: 1}
    assert by_version[onnx] != by_version[mojo]
    stored = Counter(
        (row["model_version"], row["score"]) for row in logged_rows(serving_workspace.database)
    )
    answered = Counter((version, score) for version, scores in answers for score in scores)
    assert stored == answered
    assert "still serving" in server.output.read_text()


def test_retry_keeps_version_of_first_answer(registry, serving_workspace, engine_champion):
    client, name = registry, "retried"
    for model in (CHAMPION, engine_champion("h2o")):
        found = client.get_model_version_by_alias(model, "champion")
        register(client, name, found.source, found.run_id)
    answers = []
    for version in ("1", "2"):
        with service_process(
            serving_workspace, MLPIPES_MODEL_URI=f"models:/{name}/{version}"
        ) as server:
            answers.append(predict(server, key="k").json())
    assert answers[0]["model"]["version"] == "1"
    assert answers[1] == answers[0]


def test_killed_service_loses_no_answered_row(serving_workspace):
    acknowledged = []

    def ask(session, caller):
        rows = {name: values * 3 for name, values in TWO_ROWS.items()}
        answer = session.post(f"{server.url}/predict", json=rows, timeout=30)
        assert answer.status_code == 200, answer.text
        return [row["prediction_id"] for row in answer.json()["predictions"]]

    for _ in range(2):
        with (
            service_process(serving_workspace) as server,
            concurrent_requests(server, ask) as answers,
        ):
            wait_until(lambda: len(answers) > 20)
            time.sleep(random.random())
            server.kill()
        acknowledged += [key for answer in answers for key in answer]
    with service_process(serving_workspace) as server:  # opens what the crash left
        assert predict(server).status_code == 200
    stored = [row["prediction_id"] for row in logged_rows(serving_workspace.database)]
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= set(stored)
    assert len(set(stored)) == len(stored)


def test_workers_share_log_and_metrics(serving_workspace):
    counted = serving_workspace.folder / "metrics"
    counted.mkdir()
    keys = [f"order-{i}" for i in range(40)]
    settings = {"PROMETHEUS_MULTIPROC_DIR": str(counted)}
    with service_process(serving_workspace, "--workers", "2", **settings) as server:
        with ThreadPoolExecutor(8) as pool:
            attempts = list(pool.map(lambda key: predict(server, key=key), keys * 4))
        assert {answer.status_code for answer in attempts} == {200}
        answers = {(key, answer.text) for key, answer in zip(keys * 4, attempts, strict=True)}
        assert len(answers) == len(keys)
        metrics = requests.get(f"{server.url}/metrics", timeout=30).text
        assert len(list(counted.glob("counter_*.db"))) == 2
    assert 'mlpipes_requests_total{route="/predict",status="200"} 160.0' in metrics
    assert len(logged_rows(serving_workspace.database)) == 2 * len(keys)


def test_sigterm_finishes_accepted_requests(serving_workspace):
    sent = Counter()

    def ask(session, caller):
        key = f"{caller}-{sent[caller]}"
        sent[caller] += 1
        answer = session.post(
            f"{server.url}/predict", json=TWO_ROWS, headers={"Idempotency-Key": key}, timeout=30
        )
        assert answer.status_code == 200, answer.text
        return key

    temporary = serving_workspace.folder / "temporary"
    temporary.mkdir()
    with (
        service_process(serving_workspace, TMPDIR=str(temporary)) as server,
        concurrent_requests(server, ask) as answers,
    ):
        wait_until(lambda: len(answers) > 50)
        assert [file.name[:18] for file in temporary.iterdir()] == ["ml-pipes-champion-"]
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert list(temporary.iterdir()) == []
    assert "Application shutdown complete" in server.output.read_text()
    stored = Counter(row["request_id"] for row in logged_rows(serving_workspace.database))
    assert stored == Counter(dict.fromkeys(answers, 2))


def test_service_waits_for_first_champion(registry, serving_workspace):
    client, name = registry, "first"
    settings = {"MLPIPES_MODEL_URI": f"models:/{name}@champion", "MLPIPES_POLL_SECONDS": "0.2"}
    with service_process(serving_workspace, **settings) as server:
        for path in ("/health/ready", "/model", "/ping"):
            waiting = requests.get(f"{server.url}{path}", timeout=30)
            assert waiting.status_code == 503
            assert "waiting for the first champion" in waiting.json()["detail"]
        assert predict(server).status_code == 503
        assert "Waiting for the first champion" in requests.get(server.url, timeout=30).text
        found = client.get_model_version_by_alias(CHAMPION, "champion")
        version = register(client, name, found.source, found.run_id)
        client.set_registered_model_alias(name, "champion", version)
        wait_until(lambda: requests.get(f"{server.url}/health/ready", timeout=30).ok)
        assert predict(server).status_code == 200


def test_service_answers_without_registry(workspace, serving_workspace):
    moved = serving_workspace.folder / "registry.db"
    shutil.copy(workspace.tracking_uri.removeprefix("sqlite:///"), moved)
    uri = f"sqlite:///{moved}"
    with service_process(
        serving_workspace, MLFLOW_TRACKING_URI=uri, MLPIPES_POLL_SECONDS="0.2"
    ) as server:
        moved.write_bytes(b"no database")

        def trouble():
            return requests.get(f"{server.url}/model", timeout=30).json()["trouble"]

        wait_until(trouble)
        assert predict(server).json()["model"]["version"] == "1"
        assert requests.get(f"{server.url}/health/ready", timeout=30).ok


def test_service_is_degraded_while_postgresql_is_unavailable(
    serving_workspace, postgres, postgres_uri
):
    with service_process(serving_workspace, PREDICTION_LOG_URI=postgres_uri) as server:

        def ready():
            return requests.get(f"{server.url}/health/ready", timeout=30).json()

        ids = [row["prediction_id"] for row in predict(server).json()["predictions"]]
        with stopped_postgresql(postgres):
            ids += [row["prediction_id"] for row in predict(server).json()["predictions"]]
            assert (ready()["status"], ready()["spooled"]) == ("degraded", 2)
            assert predict(server, key="k").status_code == 503
            assert "Degraded" in requests.get(server.url, timeout=30).text
        wait_until(lambda: ready()["status"] == "ready" and not ready()["spooled"])
        page = requests.get(f"{server.url}/predictions", timeout=30).json()
    assert sorted(row["prediction_id"] for row in page["predictions"]) == sorted(ids)


@pytest.mark.parametrize(
    ("setting", "value", "line"),
    [
        ("MLPIPES_MAX_ROWS", "many", "MLPIPES_MAX_ROWS: "),
        ("PREDICTION_LOG", "false", "PREDICTION_LOG: must be on or off, not 'false'"),
        ("PREDICTION_LOG_URI", "mysql://user:hidden@there/x", "neither SQLite nor PostgreSQL"),
    ],
)
def test_failed_start_is_one_line(serving_workspace, setting, value, line):
    with (
        pytest.raises(AssertionError, match="did not start"),
        service_process(serving_workspace, **{setting: value}),
    ):
        pass
    (output,) = serving_workspace.folder.glob("service-*.log")
    text = output.read_text()
    assert line in text
    assert "Traceback" not in text
    assert "hidden" not in text
