"""Champions, runs and prediction logs of an earlier release."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from serving.log.database.engine import connect
from serving.log.database.space import INCREMENTAL, compact
from serving.log.ground_truth import Label
from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.probabilities import Calibration
from steps.registry import history
from tests.support.earlier_release import unpack_earlier_release
from tests.support.log_fixtures import MODEL as OTHER_MODEL
from tests.support.log_fixtures import logged_rows, open_prediction_log, prediction_rows
from tests.support.servers import mlflow_server
from tests.support.service_fixtures import service_process
from tests.support.workspaces import Workspace, tracking_in

MODEL = "credit-card-fraud"
FEATURES = ["V1", "V2", "V3", "Amount"]


def unpacked(folder: Path) -> Workspace:
    return Workspace(unpack_earlier_release(folder))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace, for tests that leave its champion and its log as they are."""
    return unpacked(tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def to_change(tmp_path: Path) -> Workspace:
    """The workspace for one test alone."""
    return unpacked(tmp_path / "earlier")


@pytest.fixture(scope="module")
def old_rows(earlier: Workspace) -> list[dict[str, Any]]:
    """What the earlier release logged, a request after the other."""
    rows = logged_rows(earlier.folder / "predictions.db")
    return sorted(rows, key=lambda row: (row["created_at"], row["row_index"]))


@pytest.fixture
def database(earlier: Workspace, tmp_path: Path) -> Path:
    """A copy of the earlier log.

    A service upgrades what it opens, and an earlier champion refuses a log newer than its code.
    """
    return Path(shutil.copy(earlier.folder / "predictions.db", tmp_path))


def as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what was asked for the logged `rows`: features and ids."""
    table = pd.DataFrame([json.loads(row["features"]) for row in rows])[FEATURES]
    return table.astype("float64").assign(id=[row["entity_id"] for row in rows])


def scores(rows: list[dict[str, Any]]) -> Any:
    return pytest.approx([row["score"] for row in rows], rel=0, abs=1e-12)


def versions(workspace: Workspace) -> dict[str, str]:
    """Return the numbers of the versions by their aliases."""
    aliases = workspace.client.get_registered_model(MODEL).aliases
    return {alias: str(number) for alias, number in aliases.items()}


def monitoring_runs(workspace: Workspace) -> list[Any]:
    """Return all monitorings, the newest first."""
    experiment = workspace.client.get_experiment_by_name(f"{MODEL} monitoring")
    return list(workspace.client.search_runs([experiment.experiment_id]))


def first_monitoring(workspace: Workspace) -> Any:
    """Return the one that the earlier release made."""
    return monitoring_runs(workspace)[-1]


@pytest.mark.quick
def test_archive_contains_two_versions_and_a_log(earlier, old_rows):
    table = as_table(old_rows)
    assert len(table) >= 250
    assert table["Amount"].isna().any()
    assert {(row["model_name"], row["model_version"]) for row in old_rows} == {(MODEL, "2")}
    assert len({row["request_id"] for row in old_rows}) > 2
    assert first_monitoring(earlier).data.metrics["predictions"] == len(old_rows)


@pytest.mark.quick
def test_champion_and_history_are_read(earlier):
    assert versions(earlier) == {"champion": "2", "previous": "1"}
    champion = earlier.client.get_model_version_by_alias(MODEL, "champion")
    assert champion.current_stage == "Production"
    assert champion.tags["decision"].startswith("promotion=always")
    with tracking_in(earlier):
        changes = history.champion_history(MODEL)
    assert [(change.version, change.after) for change in changes] == [("1", ""), ("2", "1")]


def test_service_repeats_logged_scores_and_keys(earlier, old_rows, database):
    keyed: dict[str, list[dict[str, Any]]] = {}
    for row in old_rows:
        if row["request_id"]:
            keyed.setdefault(row["request_id"], []).append(row)
    with service_process(earlier, PREDICTION_LOG_URI=f"sqlite:///{database}") as server:

        def predict(rows, **headers):
            table = as_table(rows)
            body = table.astype(object).where(table.notna(), None).to_dict("list")
            answer = requests.post(f"{server.url}/predict", json=body, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()

        again = predict(old_rows)
        assert again["model"] == {"name": MODEL, "version": "2"}
        assert [row["score"] for row in again["predictions"]] == scores(old_rows)
        assert [row["label"] for row in again["predictions"]] == [r["label"] for r in old_rows]
        for key, rows in keyed.items():
            retry = predict(rows, **{"Idempotency-Key": key})
            assert [row["prediction_id"] for row in retry["predictions"]] == [
                row["prediction_id"] for row in rows
            ]
        label = {"prediction_id": old_rows[0]["prediction_id"], "label": 1}
        url = f"{server.url}/feedback"
        answer = requests.post(url, json={"labels": [label]}, timeout=60)
        assert answer.json() == {"recorded": 1, "unknown": []}
    found = {row["prediction_id"]: row["score"] for row in logged_rows(database)}
    assert len(found) == 2 * len(old_rows)
    assert found.items() >= {row["prediction_id"]: row["score"] for row in old_rows}.items()


def test_models_serve_logs_with_shipped_code(earlier, old_rows, database):
    """The log has been written and converted by this release, which goes on writing to it."""
    uri = f"sqlite:///{database}"
    with open_prediction_log(uri) as log:
        ours = log.record(prediction_rows(3), OTHER_MODEL, "this release")
        label = Label(1, prediction_id=ours[0].prediction_id)
        assert log.feedback([label]).recorded == 1
    compact(connect(uri))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (INCREMENTAL,)
    with (
        mlflow_server(earlier, MODEL, PREDICTION_LOG_URI=uri) as server,
        open_prediction_log(uri) as log,
    ):
        answers = server.predict(as_table(old_rows))
        ours += log.record(prediction_rows(3), OTHER_MODEL, "this release")
        assert not log.status().degraded
        assert server.predict(as_table(old_rows[:2]), "key") == server.predict(
            as_table(old_rows[:2]), "key"
        )
    assert [row["score"] for row in answers] == scores(old_rows)
    before = {row["prediction_id"] for row in old_rows}
    new = [row for row in logged_rows(database) if row["prediction_id"] not in before]
    assert {row["prediction_id"] for row in new} >= {row["prediction_id"] for row in answers} | {
        row.prediction_id for row in ours
    }
    assert len(new) == len(answers) + 2 + len(ours)
    assert {(row["model_version"], row["source"]) for row in new} == {
        ("2", "mlflow models serve"),
        (OTHER_MODEL.version, "this release"),
    }


def test_earlier_code_refuses_calibrated_scorer(earlier, tmp_path):
    manifest = Manifest("onnx", (Feature("V1"),), threshold=0.5)
    manifest.with_calibration(Calibration(0.5, -1.0), 0.5).write(tmp_path)
    (code, *_) = earlier.folder.glob("mlruns/*/models/*/artifacts/code")
    load = "import sys; from serving.scorer import PortableScorer as S; S.load(sys.argv[1])"
    command = [sys.executable, "-c", load, str(tmp_path)]
    done = subprocess.run(command, cwd=code, capture_output=True, text=True)
    assert "has scorer format 4, this code reads up to 1: update ml-pipes" in done.stderr


def test_monitor_measures_drift_and_performance(earlier, old_rows, database):
    then = first_monitoring(earlier)
    moments = [datetime.fromisoformat(f"{old_rows[at]['created_at']}+00:00") for at in (0, -1)]
    done = earlier.run(
        "monitor",
        since=moments[0].isoformat(),
        until=(moments[1] + timedelta(seconds=1)).isoformat(),
        log_uri=f"sqlite:///{database}",
    )
    assert done.returncode == 0, done.stderr
    now = monitoring_runs(earlier)[0]
    for verdict in ("drift_detected", "performance_degraded"):
        assert now.data.tags[verdict] in ("true", "false"), now.data.tags
    assert now.data.tags["model_version"] == "2"
    measured = now.data.metrics
    assert measured.keys() >= {"drift_share", "psi_score", *(f"psi.{name}" for name in FEATURES)}
    for name in ("predictions", "labels", "label_coverage", "live_ks", "live_roc_auc"):
        assert measured[name] == pytest.approx(then.data.metrics[name], abs=1e-12)


def test_export_contains_all_logged_rows(earlier, old_rows, database, tmp_path):
    output = tmp_path / "predictions.parquet"
    done = earlier.run("export_predictions", output=str(output), log_uri=f"sqlite:///{database}")
    assert done.returncode == 0, done.stderr
    exported = pd.read_parquet(output).set_index("prediction_id")
    assert len(exported) == len(old_rows)
    exported = exported.loc[[row["prediction_id"] for row in old_rows]]
    assert exported["score"].tolist() == [row["score"] for row in old_rows]
    assert exported[FEATURES].reset_index(drop=True).equals(as_table(old_rows)[FEATURES])
    labelled = exported["true_label"].dropna()
    assert len(labelled) == first_monitoring(earlier).data.metrics["labels"]
    assert labelled.value_counts().reindex([0, 1]).min() > 5


def test_rollback_restores_earlier_version(to_change):
    done = to_change.run("rollback", model_name=MODEL)
    assert done.returncode == 0, done.stderr
    assert versions(to_change) == {"champion": "1", "previous": "2"}
    with tracking_in(to_change):
        assert [change.version for change in history.champion_history(MODEL)] == ["1", "2", "1"]


def test_retraining_learns_from_log_and_decides(to_change, old_rows):
    uri = f"sqlite:///{to_change.folder}/predictions.db"
    champion = to_change.client.get_model_version_by_alias(MODEL, "champion")
    rule = "recall=0.8"  # earlier releases had none
    to_change.client.log_param(champion.tags["selection_run_id"], "threshold", rule)
    done = to_change.run(
        "monitor", retrain="always", last=str(len(old_rows)), model_name=MODEL, log_uri=uri
    )
    assert done.returncode == 0, done.stderr
    run = monitoring_runs(to_change)[0]
    assert run.data.tags["retrained"].startswith("yes: ")
    decision = run.data.tags["retraining_decision"]
    assert "of version 2, a difference of" in decision
    workflow = to_change.client.get_run(run.data.tags["retraining_run_id"])
    assert (workflow.data.params["threshold"], workflow.data.tags["threshold_rule"]) == (rule, rule)
    children = {one.info.run_name: one for one in to_change.children(workflow.info.run_id)}
    counts = children["load_data"].data.metrics
    rows = sum(counts[f"{part}_rows"] for part in ("training", "validation", "test"))
    table = pd.read_parquet(to_change.folder / "table.parquet")
    assert rows == len(table) + run.data.metrics["labels"]
    promoted = workflow.data.tags["promoted"] == "true"
    assert versions(to_change)["champion"] == ("3" if promoted else "2")
