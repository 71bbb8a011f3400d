"""A challenger from its selection over the shadow of the service to its promotion."""

import signal
import sqlite3
from contextlib import closing

import pandas as pd
import pytest
import requests

from tests.support.project import PROJECT
from tests.support.service_fixtures import ServingWorkspace, service_process
from tests.support.waiting import wait_until
from tests.support.workspaces import monitoring_runs, select

NAME = "rivals"
ROWS = 1_200


@pytest.fixture(scope="module")
def rivals(workspace, step_runs) -> str:
    """A model with a champion, and a challenger that its selection did not promote."""
    for engine, outcome in (("spark", "first champion"), ("pycaret", "remains the champion")):
        done = select(workspace, step_runs, engine, model_name=NAME)
        assert done.returncode == 0, done.stderr
        assert outcome in done.stderr
    return NAME


@pytest.fixture(scope="module")
def scored(workspace, rivals, tmp_path_factory) -> tuple[ServingWorkspace, pd.DataFrame]:
    """The rows that two workers answered before they were terminated, with both scores."""
    serving = ServingWorkspace(tmp_path_factory.mktemp("shadow"), workspace)
    settings = {
        "MLPIPES_MODEL_URI": f"models:/{rivals}@champion",
        "MLPIPES_SHADOW": f"models:/{rivals}@challenger",
    }
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    rows = sample[sample["Class"] == 0].head(ROWS).drop(columns=["Class", "Time"])
    with service_process(serving, "--workers", "2", **settings) as server:
        loaded = "now scoring in the shadow with"  # once by each worker
        wait_until(lambda: server.output.read_text().count(loaded) == 2)
        assert requests.get(f"{server.url}/model", timeout=30).json()["shadow"]["version"] == "2"
        for start in range(0, ROWS, 50):
            columns = rows.iloc[start : start + 50].to_dict("list")
            answer = requests.post(f"{server.url}/predict", json=columns, timeout=30)
            assert answer.status_code == 200, answer.text
        # At once: what waits is scored and stored before the service ends.
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(30)
        output = server.output.read_text()
        assert "Traceback" not in output
        assert "shadow: " not in output  # nothing was dropped
    with closing(sqlite3.connect(serving.database)) as connection:
        found = pd.read_sql(
            "SELECT prediction_id, p.score, s.score AS shadow_score, s.model_version "
            "FROM predictions p LEFT JOIN shadow_predictions s USING (prediction_id)",
            connection,
        )
    return serving, found


def test_unpromoted_winner_becomes_challenger(workspace, rivals):
    version = workspace.client.get_model_version_by_alias(rivals, "challenger")
    assert int(version.version) == 2
    assert "not significantly better" in version.tags["decision"]
    assert "Not promoted by its selection: it is not significantly" in version.description
    (run, _) = workspace.runs(f"params.model_name = '{rivals}'")  # the newest first
    assert run.data.tags["challenger_version"] == "2"
    assert int(workspace.client.get_model_version_by_alias(rivals, "champion").version) == 1


def test_terminated_service_has_scored_all_answered_rows(scored):
    _, rows = scored
    assert len(rows) == ROWS
    assert set(rows["model_version"]) == {"2"}
    assert (rows["score"] != rows["shadow_score"]).any()


def test_monitor_promotes_better_challenger(workspace, rivals, scored):
    """The challenger ranks the labels perfectly, the champion does not."""
    serving, rows = scored
    positive = rows["shadow_score"].rank(method="first") > ROWS - 100
    labels = [
        {"prediction_id": row, "label": int(label)}
        for row, label in zip(rows["prediction_id"], positive, strict=True)
    ]
    with service_process(serving, MLPIPES_MODEL_URI=f"models:/{rivals}@champion") as server:
        answer = requests.post(f"{server.url}/feedback", json={"labels": labels}, timeout=30)
        assert answer.json() == {"recorded": ROWS, "unknown": []}
    uri = f"sqlite:///{serving.database}"
    done = workspace.run("monitor", model_name=rivals, log_uri=uri, promote="auto")
    assert done.returncode == 0, done.stderr
    assert "challenger version 2: " in done.stderr
    assert int(workspace.client.get_model_version_by_alias(rivals, "champion").version) == 2
    assert int(workspace.client.get_model_version_by_alias(rivals, "previous").version) == 1
    (run, *_) = monitoring_runs(workspace, rivals)
    assert run.data.tags["challenger_promoted"] == "true"
    assert run.data.metrics["shadow_labels"] == ROWS
    assert run.data.metrics["shadow_ks"] == 1.0
