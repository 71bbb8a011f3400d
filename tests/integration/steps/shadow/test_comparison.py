"""Champion and challenger on the same labelled predictions, and the promotion of the better one."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest
import sqlalchemy as sa
from mlflow import MlflowClient
from scipy.special import expit

from serving.log.database.engine import connect
from serving.log.ground_truth import Label
from serving.log.shadow_predictions import ShadowLog, ShadowPrediction
from serving.model.prediction import ModelIdentity
from steps.data.fingerprints import RowFingerprints
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.registry.challengers import challenger_version
from steps.registry.champion_changes import MONITORING
from steps.registry.history import champion_history
from steps.registry.versions import find_champion, find_version, get_champion
from steps.shadow.comparison import log_comparison, read_comparison
from steps.shadow.promotion import promote_winner
from tests.support.log_fixtures import open_prediction_log, prediction_rows

pytestmark = pytest.mark.usefixtures("spool")

ROWS, POSITIVES = 1500, 60
LABELS = (np.arange(ROWS) % (ROWS // POSITIVES) == 0).astype(int)


@pytest.fixture
def registry(empty_registry, tmp_path, monkeypatch):
    """Version 1, the champion, and version 2, the challenger, fitted on the same rows."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    client = MlflowClient()
    client.create_registered_model("fraud")
    for version in ("1", "2"):
        folder: Path = tmp_path / version
        (folder / "artifacts").mkdir(parents=True)
        (folder / "MLmodel").write_text("run_id: abc\n")
        seen = RowFingerprints(np.arange(9, dtype=np.uint64), 9, "")
        seen.write(folder / "artifacts" / "seen.parquet")
        with mlflow.start_run() as run:
            tags = {"metric": "ks", "anchor": "self"}
            client.create_model_version("fraud", str(folder), run.info.run_id, tags)
    client.set_registered_model_alias("fraud", "champion", "1")
    client.set_registered_model_alias("fraud", "challenger", "2")
    yield client
    client.delete_registered_model("fraud")


def scores_with(signal: float, seed: int):
    random = np.random.default_rng(seed)
    return expit(random.normal(size=ROWS) - 4 + signal * LABELS)


def fill(uri, signal, labelled=None):
    """Log predictions of the champion, the challenger's with a `signal`, and labels."""
    rows, champion = prediction_rows(ROWS), get_champion("fraud")
    mine, theirs = scores_with(2.0, 1), scores_with(signal, 2)
    for row, score in zip(rows, mine.tolist(), strict=True):
        row.score, row.label = score, int(score >= 0.1)
    now = datetime.now(UTC)
    with open_prediction_log(uri) as log:
        log.record(rows, ModelIdentity("fraud", "1", champion.run_id), "test")
        shadow = ShadowLog(uri)
        shadow.write(
            [
                ShadowPrediction(row.prediction_id, "2", score, int(score >= 0.1), now)
                for row, score in zip(rows, theirs.tolist(), strict=True)
            ]
        )
        shadow.close()
        chosen = np.ones(ROWS, bool) if labelled is None else labelled(mine)
        log.feedback(
            [
                Label(int(label), prediction_id=row.prediction_id)
                for row, label, is_known in zip(rows, LABELS, chosen, strict=True)
                if is_known
            ]
        )


@contextmanager
def compared(uri):
    champion = MonitoredChampion(get_champion("fraud"), None, None, None, 0.2, 0.5, None)
    engine = connect(uri)
    with engine.connect() as connection, mlflow.start_run() as run:
        since = datetime.now(UTC) - timedelta(days=1)
        yield read_comparison(connection, champion, since, None, None), run
    engine.dispose()


def test_better_challenger_is_promoted(registry, uri):
    fill(uri, signal=6.0)
    with compared(uri) as (comparison, run):
        log_comparison(comparison)
        assert promote_winner(comparison, run)
    found = mlflow.get_run(run.info.run_id).data
    low, high = (found.metrics[f"shadow_ks_difference_{end}"] for end in ("low", "high"))
    assert 0 < low < found.metrics["shadow_ks_difference"] < high
    assert found.metrics["shadow_predictions"] == found.metrics["shadow_labels"] == ROWS
    assert "live ks" in found.tags["challenger_verdict"]
    assert found.tags["challenger_promoted"] == "true"
    assert find_champion("fraud").version == 2
    assert find_version("fraud", "previous").version == 1
    assert challenger_version("fraud") is None
    (change,) = champion_history("fraud")
    assert (change.version, change.by, change.anchor) == ("2", MONITORING, "2")
    assert "significantly better" in change.reason


def test_equal_challenger_stays_challenger(registry, sqlite_uri):
    fill(sqlite_uri, signal=2.0)
    with compared(sqlite_uri) as (comparison, run):
        assert not promote_winner(comparison, run)
    assert find_champion("fraud").version == 1
    assert challenger_version("fraud") == "2"
    reason = mlflow.get_run(run.info.run_id).data.tags["promotion_decision"]
    assert "not significantly better" in reason


def test_labels_of_alerts_alone_allow_no_comparison(registry, sqlite_uri):
    fill(sqlite_uri, signal=6.0, labelled=lambda scores: scores >= 0.05)
    with compared(sqlite_uri) as (comparison, run):
        log_comparison(comparison)
        assert not promote_winner(comparison, run)
    found = mlflow.get_run(run.info.run_id).data
    assert "do not cover" in found.tags["challenger_verdict"]
    assert "shadow_ks" not in found.metrics


def test_champion_that_changed_meanwhile_stays(registry, sqlite_uri):
    fill(sqlite_uri, signal=6.0)
    with compared(sqlite_uri) as (comparison, run):
        registry.delete_registered_model_alias("fraud", "challenger")
        assert not promote_winner(comparison, run)
    assert find_champion("fraud").version == 1
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["challenger_promoted"] == "false"
    assert "changed during the comparison" in tags["promotion_decision"]


def test_log_of_earlier_release_has_no_comparison(registry, uri):
    with open_prediction_log(uri):
        pass
    engine = connect(uri)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE shadow_predictions"))
    engine.dispose()
    with compared(uri) as (comparison, _):
        assert comparison is None
