"""What monitor finds in a log, what a retraining learns from, and the whole loop."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from serving.feedback import Label
from serving.scorer import Feature, Manifest
from steps.monitor import one_monitoring
from steps.monitoring.drift import Drift, measure_drift
from steps.monitoring.performance import Performance, measure_performance
from steps.monitoring.picture import summary_picture
from steps.monitoring.retraining import append
from steps.monitoring.window import Window, read_window
from steps.pipeline.errors import BusyError
from steps.pipeline.intervals import Interval
from steps.pipeline.log_reader import open_log
from steps.pipeline.plots import as_png
from steps.pipeline.reference import Reference, describe
from tests.log_fixtures import MODEL, opened, rows

FEATURES = ["V1", "V2", "V3"]
START = datetime(2026, 1, 1, tzinfo=UTC)


def table(count: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(count)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=FEATURES)
    return frame.assign(V1=frame["V1"] + shift)


def window(count: int, shift: float = 0.0, positives: int = 40, version: str = "3") -> Window:
    """Predictions one minute apart; scores that tell positives from the others well."""
    features = table(count, shift)
    label = (np.arange(count) < positives).astype(int)
    random = np.random.default_rng(0)
    score = expit(random.normal(size=count) - 4 + 3 * label)
    moments = pd.Series([START + timedelta(minutes=i) for i in range(count)])
    own = pd.DataFrame({"created_at": moments, "model_version": version, "score": score})
    labelled = own.assign(threshold=0.1, label=label, observed_at=moments + pd.Timedelta(hours=3))
    return Window(pd.concat([own, features], axis=1), labelled, FEATURES, count)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(table(5000), expit(np.random.default_rng(1).normal(size=3000) - 4))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    features = tuple(Feature(name) for name in FEATURES)
    return Manifest("onnx", features, 0.1, reference=describe(table(5000)))


@pytest.mark.quick
class TestDrift:
    def measure(self, window, reference, manifest, version="3"):
        return measure_drift(window, reference, manifest, version, 0.2, 0.3)

    def test_the_same_world_has_none(self, reference, manifest):
        drift = self.measure(window(3000, positives=0), reference, manifest)
        assert isinstance(drift, Drift)
        assert not drift.detected
        assert drift.psi.max() < 0.05
        assert drift.score_psi < 0.05
        assert str(drift).startswith("0 of 3 features have a PSI above 0.2, a share of 0.00")

    def test_a_feature_that_moved_is_named_with_what_lies_beyond_its_range(
        self, reference, manifest
    ):
        drift = self.measure(window(1000, shift=3.0, positives=0), reference, manifest)
        assert drift.detected
        assert drift.drifted == ["V1"]
        assert drift.metrics["psi.V1"] > 1
        assert drift.metrics["out_of_range.V1"] > 0.2 > drift.metrics["out_of_range.V2"]
        assert drift.periods.shape == (3, 5)
        assert (drift.periods.loc["V1"] > 1).all()

    def test_missing_values_are_counted_and_an_all_missing_feature_is_no_fault(
        self, reference, manifest
    ):
        seen = window(1000, positives=0)
        seen.rows.loc[:499, "V2"] = np.nan
        seen.rows["V3"] = np.nan
        drift = self.measure(seen, reference, manifest)
        assert drift.metrics["missing.V2"] == 0.5
        assert drift.metrics["missing.V3"] == 1.0

    def test_scores_of_other_versions_are_not_the_champions(self, reference, manifest):
        drift = self.measure(window(1000), reference, manifest, version="4")
        assert drift.score_psi is None
        assert "too few predictions of this version" in str(drift)

    def test_too_few_rows_say_so(self, reference, manifest):
        assert self.measure(window(50), reference, manifest) == (
            "50 predictions with features, fewer than 200"
        )


@pytest.mark.quick
class TestPerformance:
    def test_all_live_metrics_have_intervals(self):
        found = measure_performance(window(2000).labelled, 4000, "ks", 0.5)
        assert isinstance(found, Performance)
        for name in ("ks", "roc_auc", "average_precision", "recall_at_threshold", "calibration"):
            low, high = (found.logged[f"live_{name}_{end}"] for end in ("low", "high"))
            assert low <= found.logged[f"live_{name}"] <= high
        assert found.coverage == 0.5
        assert found.delay_hours == (3.0, 3.0)
        assert not found.degraded

    def test_below_the_floor_it_is_degraded(self):
        found = measure_performance(window(2000).labelled, 2000, "ks", 0.99)
        assert found.degraded
        assert ", below the floor of 0.990" in str(found)

    def test_without_labels_it_says_what_is_needed(self):
        assert measure_performance(window(100, positives=2).labelled, 100, "ks", 0.5) == (
            "100 labels of this version, 2 of 1 and 98 of 0; 5 of each are needed"
        )


@pytest.mark.quick
def test_the_picture_holds_what_could_and_what_could_not_be_measured(reference, manifest):
    seen = window(2000, shift=2.0)
    drift = measure_drift(seen, reference, manifest, "3", 0.2, 0.3)
    performance = measure_performance(seen.labelled, 2000, "ks", 0.5)
    scores = (reference.scores, seen.rows["score"].to_numpy())
    test = (0.9, Interval(0.8, 0.95))
    for measured in ((drift, performance), ("few rows", performance), (drift, "no labels")):
        picture = summary_picture("title", *measured, scores, test)
        shown = " ".join(t.get_text() for t in picture.findobj(lambda a: hasattr(a, "get_text")))
        for one in measured:
            assert not isinstance(one, str) or one in shown
        assert as_png(picture).startswith(b"\x89PNG")
    nothing = summary_picture("title", "few", "few", (reference.scores, np.empty(0)), None)
    assert as_png(nothing).startswith(b"\x89PNG")


@pytest.mark.quick
def test_a_window_is_read_from_the_log_of_one_model(uri, spool):
    with opened(uri) as log:
        for _ in range(3):
            log.record(rows(4), MODEL, "test")
        log.feedback([Label(1, entity_id="card-2")])
    with open_log(uri) as connection:
        whole = read_window(connection, "fraud", ["V1", "V2"], None, None, None)
        assert (whole.count, len(whole.rows), len(whole.labelled)) == (12, 12, 1)
        assert whole.rows["V1"].tolist() == [0.0, 1.0, 2.0, 3.0] * 3
        assert whole.rows["V2"].isna().all()
        assert whole.labelled["label"].tolist() == [1]
        assert read_window(connection, "fraud", ["V1"], None, None, 4).count == 4
        assert read_window(connection, "other", ["V1"], None, None, None).rows.empty
        assert read_window(connection, "fraud", ["V1"], datetime.now(UTC), None, None).count == 0
    assert whole.after(whole.until).rows.empty


@pytest.mark.quick
class TestRetrainingTable:
    BASE = pd.DataFrame({"Time": [1.0, 5.0], "V1": [0.1, 0.2], "Class": [0, 1]})

    def labelled(self, **columns) -> pd.DataFrame:
        moments = [START + timedelta(seconds=i) for i in range(3)]
        rows = {"created_at": moments, "V1": [0.3, 0.4, 0.5], "Class": [0, 1, 0]} | columns
        return pd.DataFrame(rows)

    def append(self, base, labelled):
        return append(base, labelled, ["V1"], "Class", "Time")

    def test_predictions_come_after_all_that_was_there(self):
        whole, new = self.append(self.BASE, self.labelled())
        assert new == 3
        assert whole["V1"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert whole["Time"].tolist() == [1.0, 5.0, 6.0, 7.0, 8.0]

    def test_a_row_of_the_base_or_an_earlier_prediction_is_the_same_row(self):
        whole, new = self.append(self.BASE, self.labelled(V1=[0.2, 0.9, 0.9], Class=[1, 0, 0]))
        assert new == 1
        assert whole["V1"].tolist() == [0.1, 0.2, 0.9]

    def test_timestamps_go_on_as_timestamps(self):
        earlier = self.BASE.assign(Time=pd.to_datetime(["2025-01-01", "2025-01-02"]))
        whole, _ = self.append(earlier, self.labelled())
        assert whole["Time"].iloc[2] == pd.Timestamp("2026-01-01")
        later = self.BASE.assign(Time=pd.to_datetime(["2027-01-01", "2027-01-02"]))
        whole, _ = self.append(later, self.labelled())
        assert whole["Time"].is_monotonic_increasing
        assert whole["Time"].iloc[2] == pd.Timestamp("2027-01-02 00:00:01")

    def test_rows_without_time_stay_without(self):
        whole, _ = self.append(self.BASE.drop(columns="Time"), self.labelled())
        assert list(whole.columns) == ["V1", "Class"]


@pytest.mark.quick
def test_two_never_monitor_the_same_model_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    with one_monitoring("fraud"):
        with one_monitoring("another"):
            pass
        busy = pytest.raises(BusyError, match="fraud is being monitored by another process")
        with busy, one_monitoring("fraud"):
            pass
    with one_monitoring("fraud"):
        pass


def test_an_empty_window_is_no_error_and_says_so(place, workspace, finished):
    uri = f"sqlite:///{place.database}"
    with opened(uri):
        pass
    done = workspace.run("monitor", log_uri=uri, retrain="auto")
    assert done.returncode == 0, done.stderr
    assert "0 predictions: drift unknown, performance unknown" in done.stderr
    (found,) = monitorings(workspace, "credit-card-fraud")
    assert found.data.tags["drift_detected"] == "unknown"
    assert "the window holds no predictions of this model" in found.data.tags["drift_reason"]


def monitorings(workspace, model_name):
    experiment = workspace.client.get_experiment_by_name(f"{model_name} monitoring")
    return workspace.client.search_runs([experiment.experiment_id])  # newest first


def test_the_loop_closes_on_real_data(workspace, tmp_path):
    """The demo: drift is found, a retrained champion takes over, no request is lost."""
    folder = tmp_path / "demo"
    done = workspace.run("demo", folder=str(folder))
    assert done.returncode == 0, done.stderr
    model, client = "demo-credit-card-fraud", workspace.client
    (demo, *_) = workspace.runs("attributes.run_name = 'demo'")
    assert demo.data.metrics["lost"] == demo.data.metrics["refused"] == 0
    assert demo.data.metrics["answered"] > 7000
    after, changed, before = monitorings(workspace, model)
    verdicts = [
        (run.data.tags["drift_detected"], run.data.tags["performance_degraded"])
        for run in (before, changed, after)
    ]
    assert verdicts[:2] == [("false", "false"), ("true", "true")]
    assert verdicts[2][1] == "false"
    assert after.data.metrics["live_ks"] > changed.data.metrics["live_ks"] + 0.05
    for run in (before, changed, after):
        artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
        assert artifacts == {"drift.html", "plots"}
    version = client.get_model_version_by_alias(model, "champion")
    assert int(version.version) == 2
    assert version.tags["monitoring_run_id"] == changed.info.run_id
    assert "newer rows" in version.tags["decision"]

    # What led to a retraining is no evidence for another one.
    until = datetime.fromisoformat(changed.data.tags["evidence_until"]) + timedelta(microseconds=1)
    again = workspace.run(
        "monitor",
        model_name=model,
        log_uri=f"sqlite:///{folder}/predictions.db",
        until=until.isoformat(),
        psi_limit="0.001",
        retrain="auto",
    )
    assert again.returncode == 0, again.stderr
    assert "it led to a retraining already; since then: 0 predictions" in again.stderr
    assert int(client.get_model_version_by_alias(model, "champion").version) == 2

    cleaned = workspace.run("demo", folder=str(folder), clean="true")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not folder.exists()
    assert not client.search_registered_models(f"name = '{model}'")


def test_the_demo_removes_nothing_that_it_did_not_make(workspace, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    done = workspace.run("demo", folder=str(tmp_path), clean="true")
    assert done.returncode != 0
    assert "was not made by the demo" in done.stderr
    assert Path(tmp_path / "mine.txt").exists()
