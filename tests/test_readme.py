"""The README's commands, taken out of it and run."""

import csv
import json
import re
import subprocess

import pytest

from tests.conftest import PROJECT, logged, serving

README = (PROJECT / "README.md").read_text()
COMMANDS = [
    re.sub(r"\s+#.*", "", line)
    for block in re.findall(r"(?s)```sh\n(.*?)```", README)
    for line in block.strip().replace("\\\n", "").splitlines()
]


def command(start: str) -> str:
    (found,) = [line for line in COMMANDS if line.startswith(start)]
    return found


@pytest.mark.quick
def test_every_command_is_one_that_a_test_runs():
    """Each stands here with the test that runs it: a new command in the README needs one."""
    run_by = {
        "make run": "test_fresh_clone",
        "make serve": "test_fresh_clone",
        'make run ARGS="-P data=sample -P profile=quick"': "test_fresh_clone",
        "make ui": "test_fresh_clone",
        "mlflow run .": "no test: it needs conda; test_environments runs it with uv",
        "mlflow run . --env-manager uv -P data=sample -P profile=quick": "test_environments",
        "mlflow run . -e load_data -P data=sample": "test_environments",
        "mlflow run . -e train_spark -P data_run_id=RUN_ID -P profile=quick": "test_processes",
        command("mlflow models serve"): "test_serve",
        command("curl 127.0.0.1:5001/predict "): "here",
        command("curl 127.0.0.1:5001/feedback"): "here",
        command("curl 127.0.0.1:5001/predictions"): "here",
        command("curl 127.0.0.1:5002"): "here",
        command(".venv/bin/python -c"): "here",
        command(
            "mlflow run . -e export_predictions -P output=predictions"
        ): "test_export_and_purge",
        command("mlflow run . -e export_predictions -P output=may"): "test_export_and_purge",
        command("mlflow run . -e purge_predictions"): "test_export_and_purge",
        "mlflow run . -e monitor": "test_monitor",
        "mlflow run . -e monitor -P since=2026-05-01 -P until=2026-06-01": "test_monitor",
        "mlflow run . -e rollback": "test_promotion",
        command("mlflow run . -e score_batch -P input=transactions"): "test_score_batch",
        command("mlflow run . -e score_batch -P input='/data"): "test_score_batch",
        "make env": "test_containers",
        "make containers": "CI, which has a container engine",
        **dict.fromkeys(
            (
                "docker compose run --rm pipeline -P data=sample -P profile=quick",
                "docker compose run --rm pipeline -e monitor",
                command("docker compose run --rm pipeline -e export_predictions"),
            ),
            "no test: it needs a container engine and the whole environment",
        ),
        "make lint": ".ci/run",
        "make test": ".ci/run",
        'make test ARGS="-m quick"': "test_fresh_clone",
    }
    assert set(COMMANDS) == set(run_by)


def curl(request: str) -> str:
    done = subprocess.run(["bash", "-c", request], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_prediction_its_label_and_the_log_of_the_service(running):
    def ask(route: str) -> str:
        request = command(f"curl 127.0.0.1:5001/{route} ")
        return curl(request.replace("127.0.0.1:5001", running.url))

    given = json.loads(ask("predict"))["predictions"]
    assert [row["label"] for row in given] == [1, 0]
    assert json.loads(ask("feedback")) == {"recorded": 1, "unknown": []}
    _, fraud, *_ = csv.DictReader(ask("predictions").splitlines())
    assert (fraud["entity_id"], fraud["true_label"]) == ("116139", "1")


def test_the_example_request_and_the_look_into_the_log(workspace, finished):
    with serving(workspace, "credit-card-fraud") as server:
        request = command("curl 127.0.0.1:5002").replace("127.0.0.1:5002", server.url)
        fraud, other = json.loads(curl(request))["predictions"]
    assert fraud["label"] == 1
    assert other["label"] == 0
    look = command(".venv/bin/python").replace(".venv/bin/python", "python")
    done = subprocess.run(
        ["bash", "-c", look],
        cwd=workspace.folder,
        env=workspace.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "prediction_id" in done.stdout
    assert re.search(r"\[\d+ rows x 14 columns\]", done.stdout)
    found = logged(workspace.folder / "predictions.db")
    assert [
        row["entity_id"] for row in found if row["prediction_id"] == fraud["prediction_id"]
    ] == ["116139"]
