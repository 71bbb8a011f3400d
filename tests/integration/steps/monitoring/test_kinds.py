"""Monitoring of a champion with features of every kind and awkward names, from log to picture."""

from dataclasses import replace
from datetime import UTC, datetime
from unittest.mock import Mock

import mlflow
import numpy as np
import pandas as pd
import pytest

from serving.log.existing import open_log
from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.preparation import Encoding
from serving.model.schema import FeatureSchema
from steps.data.feature_statistics import feature_statistics
from steps.data.reference import Reference
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.retraining_triggers import RetrainingTrigger, last_trigger, record_trigger
from steps.monitoring.runs import log_findings, monitoring_run
from steps.monitoring.window import read_window
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows
from tests.support.workspaces import Workspace, tracking_in

pytestmark = pytest.mark.quick

LEVELS = ("clerk", "nurse", "pilot")
FEATURES = (
    Feature("created_at", "date"),
    Feature("score", nullable=True),
    Feature("has_features", "boolean", nullable=True, levels=("No", "Yes")),
    Feature("prediction_id", "category", nullable=True, levels=LEVELS),
    Feature("target", "category", levels=("0", "1")),
    Feature("Charges ($)"),
    Feature("Charges (€)"),
    Feature("a/../$b$", "boolean"),
)
START = datetime(2000, 1, 1, tzinfo=UTC)


def table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    days = random.integers(0, 1000, rows).astype("timedelta64[D]")
    return pd.DataFrame(
        {
            "created_at": (np.datetime64("2020-01-01") + days).astype("datetime64[us]"),
            "score": random.normal(size=rows),
            "has_features": pd.Series(random.random(rows) < 0.3).astype(object),
            "prediction_id": random.choice(LEVELS, rows, p=[0.6, 0.3, 0.1]),
            "target": random.choice(["0", "1"], rows),
            "Charges ($)": random.lognormal(size=rows),
            "Charges (€)": random.lognormal(size=rows),
            "a/../$b$": random.random(rows) < 0.5,
        }
    )


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> MonitoredChampion:
    training = table(4000, seed=1)
    file = tmp_path_factory.mktemp("training") / "training.parquet"
    training.assign(left=0).to_parquet(file, index=False)
    encodings = tuple(
        Encoding(feature.name, ("a",), levels=dict.fromkeys(feature.levels, (0.0,)))
        for feature in FEATURES
        if feature.kind == "category"
    )
    manifest = Manifest(
        "onnx", FEATURES, 0.5, encodings=encodings, reference=feature_statistics(file)
    )
    reference = Reference(training, np.random.default_rng(0).random(1000))
    version = Mock(tags={"metric": "ks"}, version="3", run_id=MODEL.run_id)
    version.name = MODEL.name
    return MonitoredChampion(version, manifest, reference, None, 0.2, 0.5, None)


@pytest.fixture
def window_of(sqlite_uri, spool, champion):
    """Log rows as the service does, with features as given instead of some, and read them."""

    def read(rows: pd.DataFrame, **instead):
        logged = [row | instead for row in FeatureSchema(FEATURES).parse_frame(rows).to_dicts()]
        made = prediction_rows(len(rows))
        made = [replace(p, features=row, score=0.5) for p, row in zip(made, logged, strict=True)]
        with open_prediction_log(sqlite_uri) as log:
            log.record(made, MODEL, "test")
        with open_log(sqlite_uri) as connection:
            return read_window(connection, MODEL.name, MODEL.run_id, FEATURES, START, None, None)

    return read


def test_stable_traffic_of_every_kind_has_no_drift(window_of, champion):
    drift = champion.assess(window_of(table(2000, seed=2))).drift
    assert set(drift.psi.index) == {feature.name for feature in FEATURES}
    assert drift.psi.max() < 0.05
    assert drift.metrics["unseen_share"] == 0
    assert "unseen" not in str(drift)


def test_unseen_levels_and_changes_of_every_kind_are_reported(
    window_of, champion, tmp_path, monkeypatch
):
    rows = table(1000, seed=2)
    rows.loc[::10, "prediction_id"] = "astronaut"
    rows.loc[::20, "target"] = "2"
    rows.loc[::4, "has_features"] = None
    rows["created_at"] += np.timedelta64(2000, "D")
    rows["a/../$b$"] = True
    window = window_of(rows)
    findings = champion.assess(window)
    drift = findings.drift
    assert set(drift.drifted_features) == {
        "created_at", "has_features", "prediction_id", "target", "a/../$b$",
    }  # fmt: skip
    assert (
        "10.00% of the predictions have an unseen level (prediction_id 10.00%, target 5.00%)"
        in (str(drift))
    )
    with tracking_in(Workspace(tmp_path)):
        with mlflow.start_run(), monitoring_run("fraud") as run:
            log_findings(findings, champion)
        metrics = mlflow.get_run(run.info.run_id).data.metrics
        assert metrics["unseen.prediction_id"] == metrics["unseen_share"] == 0.1
        assert metrics["out_of_range.created_at"] == 1.0
        assert metrics["missing.has_features"] == 0.25
        assert metrics.keys() >= {"psi.Charges ___", "psi.Charges ____2", "psi.a_..__b_"}
        record_trigger(run.info.run_id, window, START)
        mlflow.MlflowClient().set_tag(run.info.run_id, "retraining_decision", "not better")
        trigger = last_trigger(run.info.experiment_id, champion.registered)
    monkeypatch.setattr(MonitoredChampion, "_scores_of", lambda _, rows: np.full(len(rows), 0.5))
    assert champion.assess_since(trigger, window).drift.drifted_features == []
    of_another = RetrainingTrigger(START, trigger.features.drop(columns="score"))
    assert champion.assess_since(of_another, window).drift.drifted_features


def test_values_that_the_champion_cannot_read_are_left_out(window_of, champion):
    window_of(table(300, seed=2))
    window = window_of(table(400, seed=3), created_at="soon")
    assert (window.count, len(window.features)) == (700, 300)
    assert champion.assess(window).drift.psi.max() < 0.2
