"""Requests of the documentation, sent to real servers."""

import csv
import json
import re
import subprocess

from tests.support.documentation import command
from tests.support.log_fixtures import logged_rows
from tests.support.project import PROJECT
from tests.support.servers import mlflow_server


def curl(request: str) -> str:
    done = subprocess.run(["bash", "-c", request], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_predict_feedback_and_predictions_of_the_service(shared_service):
    def ask(route: str) -> str:
        request = command(f"curl 127.0.0.1:5001/{route} ")
        return curl(request.replace("127.0.0.1:5001", shared_service.url))

    given = json.loads(ask("predict"))["predictions"]
    assert [row["label"] for row in given] == [1, 0]
    assert json.loads(ask("feedback")) == {"recorded": 1, "unknown": []}
    _, fraud, *_ = csv.DictReader(ask("predictions").splitlines())
    assert (fraud["entity_id"], fraud["true_label"]) == ("116139", "1")


def test_invocations_of_mlflow_models_serve_and_the_log_in_pandas(workspace, completed_run):
    with mlflow_server(workspace, "credit-card-fraud") as server:
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
    found = logged_rows(workspace.folder / "predictions.db")
    assert [
        row["entity_id"] for row in found if row["prediction_id"] == fraud["prediction_id"]
    ] == ["116139"]
