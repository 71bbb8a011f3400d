"""What monitor finds in a log, what a retraining learns from, and the whole loop."""

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from scipy.special import expit

from serving.feedback import Label
from serving.history import labels_since
from serving.scorer import Feature, Manifest
from steps import monitor
from steps.monitor import monitoring_run, one_monitoring
from steps.monitoring.bins import Bins, psi
from steps.monitoring.champion import Champion
from steps.monitoring.drift import Drift, measure_drift
from steps.monitoring.evidence import Evidence, last_evidence, note_evidence
from steps.monitoring.performance import Performance, measure_performance
from steps.monitoring.picture import summary_picture
from steps.monitoring.retraining import (
    Retraining,
    append,
    inherited,
    labelled_rows,
    too_few_labels,
)
from steps.monitoring.window import Window, read_window
from steps.pipeline.errors import BusyError, StepError
from steps.pipeline.intervals import Interval
from steps.pipeline.log_reader import open_log
from steps.pipeline.plots import as_png
from steps.pipeline.reference import Reference, describe
from tests.conftest import PROJECT, Workspace, tracked
from tests.log_fixtures import MODEL, opened, rows

FEATURES = ["V1", "V2", "V3"]
START = datetime(2026, 1, 1, tzinfo=UTC)


def table(count: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(count)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=FEATURES)
    return frame.assign(V1=frame["V1"] + shift)


def window(count: int, shift: float = 0.0, positives: int = 40) -> Window:
    """Predictions one minute apart; scores that tell positives from the others well."""
    features = table(count, shift)
    label = (np.arange(count) < positives).astype(int)
    random = np.random.default_rng(0)
    score = expit(random.normal(size=count) - 4 + 3 * label)
    moments = pd.Series([START + timedelta(minutes=i) for i in range(count)])
    scored = pd.DataFrame({"created_at": moments, "own": True, "score": score})
    labelled = scored.assign(
        prediction_id=[f"prediction-{i}" for i in range(count)],
        threshold=0.1,
        label=label,
        observed_at=moments + pd.Timedelta(hours=3),
    )
    rows = pd.concat([scored.assign(has_features=True), features], axis=1)
    return Window(rows, labelled, FEATURES, count)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(table(5000), expit(np.random.default_rng(1).normal(size=3000) - 4))


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    features = tuple(Feature(name) for name in FEATURES)
    return Manifest("onnx", features, 0.1, reference=describe(table(5000)))


@pytest.mark.quick
class TestDrift:
    def measure(self, window, reference, manifest):
        return measure_drift(window, reference, manifest, 0.2, 0.3)

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
        assert drift.drifted == ["V3", "V2"]

    def test_one_value_far_away_hides_nothing(self, reference, manifest):
        seen = window(1000, shift=1.5, positives=0)
        drift = self.measure(seen, reference, manifest)
        seen.rows.loc[0, "V1"] = 1e6
        assert self.measure(seen, reference, manifest).psi["V1"] == pytest.approx(
            drift.psi["V1"], rel=0.05
        )

    def test_a_version_with_other_features_tells_nothing_of_these(self, reference, manifest):
        seen = window(1000, positives=0)
        seen.rows.loc[:499, "V2"] = np.nan
        seen.rows.loc[:499, "has_features"] = False
        assert self.measure(seen, reference, manifest).metrics["missing.V2"] == 0.0
        seen.rows["has_features"] = False
        assert "0 predictions with all features" in self.measure(seen, reference, manifest)

    def test_the_parts_of_a_batch_which_has_one_time_are_all_shown(self, reference, manifest):
        seen = window(1000)
        seen.rows["created_at"] = seen.labelled["created_at"] = START
        seen.labelled["label"] = (np.arange(1000) % 10 == 0).astype(int)  # 100 of 1
        assert self.measure(seen, reference, manifest).periods.shape == (3, 5)
        assert len(measure_performance(seen.labelled, 1000, "ks", 0.5).periods) == 6

    def test_scores_of_other_versions_are_not_the_champions(self, reference, manifest):
        seen = window(1000)
        seen.rows["own"] = False
        drift = self.measure(seen, reference, manifest)
        assert drift.score_psi is None
        assert "too few predictions of this version" in str(drift)

    def test_too_few_rows_say_so(self, reference, manifest):
        assert self.measure(window(50), reference, manifest) == (
            "50 predictions with all features, fewer than 200"
        )


@pytest.mark.quick
class TestBins:
    def test_a_frequent_value_is_a_bin_of_its_own(self):
        mostly_1 = pd.Series([0.0] * 3 + [1.0] * 97)
        bins = Bins.of(mostly_1)
        assert bins.numbers(pd.Series([0.0, 1.0, 2.0, np.nan])).tolist() == [0, 1, 2, -1]
        assert list(bins.names(pd.Series([0.0, 1.0, 2.0, np.nan]))) == [
            "00 below 1", "01 1", "02 above 1", "missing",
        ]  # fmt: skip
        assert psi(mostly_1, pd.Series([0.0] * 50 + [1.0] * 50)) > 1

    def test_a_wide_tail_does_not_hide_the_rest(self):
        amounts = pd.Series(np.random.default_rng(0).lognormal(3, 2, 10_000))
        assert psi(amounts, amounts * 3) > 0.2
        assert psi(amounts.iloc[:5000], amounts.iloc[5000:]) < 0.02

    def test_a_reference_without_values_can_be_compared(self):
        nothing, something = pd.Series([np.nan] * 100), pd.Series([1.0, 2.0])
        assert psi(nothing, nothing) == 0
        assert psi(nothing, something) > 1


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

    def test_scores_of_nothing_but_0_are_measured_and_have_no_calibration(self):
        labelled = window(1000).labelled.assign(score=0.0)
        found = measure_performance(labelled, 1000, "ks", 0.5)
        assert found.degraded
        assert found.metrics["ks"] == 0
        assert "live_calibration" not in found.logged

    def test_without_labels_it_says_what_is_needed(self):
        assert measure_performance(window(100, positives=2).labelled, 100, "ks", 0.5) == (
            "100 labels of this version, 2 of 1 and 98 of 0; 5 of each are needed"
        )


@pytest.mark.quick
def test_the_picture_holds_what_could_and_what_could_not_be_measured(reference, manifest):
    seen = window(2000, shift=2.0)
    drift = measure_drift(seen, reference, manifest, 0.2, 0.3)
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
    read = partial(read_window, model_name="fraud", champion_run_id=MODEL.run_id)
    with open_log(uri) as connection:
        every = partial(read, connection, features=["V1", "V2"], since=None, until=None)
        whole = every(last=None)
        assert (whole.count, len(whole.rows), len(whole.labelled)) == (12, 12, 1)
        assert whole.rows["V1"].tolist() == [0.0, 1.0, 2.0, 3.0] * 3
        assert whole.rows["V2"].isna().all()
        assert whole.rows[["own", "has_features"]].all(axis=None)
        assert whole.labelled["label"].tolist() == [1]
        assert every(last=4).count == 4
        assert every(last=6).rows["V1"].tolist() == [2.0, 3.0, 0.0, 1.0, 2.0, 3.0]
        assert every(last=13).count == 12
        assert every(last=None, model_name="other").rows.empty
        assert every(last=None, since=datetime.now(UTC)).count == 0
        assert not every(last=None, champion_run_id="another").rows["own"].any()
        assert not every(last=None, features=["V1", "V3"]).rows["has_features"].any()
        (labelled,) = labels_since(connection, "fraud", None)
        assert not labels_since(connection, "fraud", datetime.now(UTC))
        assert not labels_since(connection, "other", None)
    assert whole.labelled["prediction_id"].tolist() == [labelled]
    assert whole.since(whole.until, {}).rows.empty
    assert whole.since(whole.until, {}).labelled.empty
    assert len(whole.since(whole.until, {labelled: 1}).labelled) == 1


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
def test_a_retraining_takes_over_how_the_champion_was_made_but_no_forced_promotion():
    made_with = {"engines": "pycaret", "seed": "7", "promotion": "always"}
    assert inherited(made_with) == {"engines": "pycaret", "seed": "7"}
    assert inherited(made_with | {"promotion": "better"})["promotion"] == "better"


@pytest.mark.quick
def test_labels_of_one_class_are_not_learned_from():
    assert too_few_labels([1] * 5 + [0] * 5) == ""
    assert too_few_labels([1] * 100) == "100 labels of 1 and 0 of 0 are new; 5 of each are needed"
    assert too_few_labels([0] * 100 + [1] * 4)
    assert too_few_labels([])


@pytest.mark.quick
def test_labelled_predictions_of_other_features_are_left_out_and_counted(uri, spool):
    with opened(uri) as log:
        log.record(rows(4), MODEL, "test")
        log.feedback([Label(1, entity_id="card-2"), Label(0, entity_id="card-3")])
    with open_log(uri) as connection:
        found, other = labelled_rows(connection, "fraud", ["V1", "V2"], "Class")
        assert found[["V1", "Class"]].to_numpy().tolist() == [[2.0, 1.0], [3.0, 0.0]]
        assert found["V2"].isna().all()
        assert other == 0
        found, other = labelled_rows(connection, "fraud", ["V1", "V3"], "Class")
        assert (len(found), other) == (0, 2)


@pytest.mark.quick
def test_after_a_retraining_traffic_is_compared_with_what_led_to_it(reference, manifest):
    champion = Champion(Mock(tags={"metric": "ks"}), manifest, reference, None, 0.2, 0.3, None)
    changed = window(1000, shift=3.0)
    assert champion.assess(changed).drifted
    before = START - timedelta(days=1)
    for evidence, drifted in (
        (table(900, shift=3.0), False),  # as it was then
        (table(900), True),
        (table(0), True),  # nothing was left of then
    ):
        assert champion.since(Evidence(before, evidence), changed, {}).drifted == drifted


class TestEvidence:
    """Which retraining was the last one, and of what; on a tracking store of their own."""

    @pytest.fixture(autouse=True)
    def store(self, tmp_path) -> Iterator[None]:
        with tracked(Workspace(tmp_path)):
            yield

    @staticmethod
    def looked_at(version: ModelVersion) -> Run:
        with mlflow.start_run(), monitoring_run("fraud") as run:
            mlflow.set_tag("model_run_id", version.run_id)
        return run

    @staticmethod
    def version(run_id: str, **tags: str) -> ModelVersion:
        found = [ModelVersionTag(*tag) for tag in tags.items()]
        return ModelVersion("fraud", "2", 0, run_id=run_id, tags=found)

    def test_only_what_made_the_champion_or_left_it_in_place_counts(self):
        first = self.version("first-model")
        run = self.looked_at(first)
        experiment = run.info.experiment_id
        assert last_evidence(experiment, first) is None
        note_evidence(run.info.run_id, window(300), START)
        assert last_evidence(experiment, first) is None  # it was interrupted, or still goes on

        mlflow.MlflowClient().set_tag(run.info.run_id, "retraining_decision", "not better")
        found = last_evidence(experiment, first)
        assert found.until == START
        assert sorted(found.rows["V1"]) == sorted(table(300)["V1"])
        assert last_evidence(experiment, self.version("trained-by-hand")) is None

        later = self.looked_at(first)
        note_evidence(later.info.run_id, window(400), START + timedelta(days=1))
        second = self.version("second-model", monitoring_run_id=later.info.run_id)
        assert len(last_evidence(experiment, second).rows) == 400
        assert len(last_evidence(experiment, first).rows) == 300

    def test_a_decision_without_one_of_the_engines_is_noted_before_it_fails(self, monkeypatch):
        def without_an_engine(*_, **__):
            with mlflow.start_run(nested=True) as workflow:
                mlflow.set_tag("decision", "it is better")
            raise StepError("main", "done, but without h2o", workflow.info.run_id)

        champion = Mock(registered=self.version("first-model"))
        run = self.looked_at(champion.registered)
        prepared = Retraining(table(10), {}, "base", new=10, known=0, other=0)
        monkeypatch.setattr(monitor, "prepare", lambda *_: prepared)
        monkeypatch.setattr(monitor, "run_step", without_an_engine)
        monkeypatch.setattr(monitor, "open_log", lambda _: nullcontext())
        with mlflow.start_run(), pytest.raises(StepError, match="without h2o"):
            monitor.train_again("uri", champion, Mock(title="DRIFT"), run)
        tags = mlflow.get_run(run.info.run_id).data.tags
        assert (tags["retrained"], tags["retraining_decision"]) == ("yes: DRIFT", "it is better")


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
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet").drop_duplicates()
    assert demo.data.metrics["answered"] == demo.data.metrics["sent"] == np.ceil(len(sample) / 2)
    assert demo.data.tags["versions"] == "1, then 2"
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
        assert artifacts - {"evidence"} == {"drift.html", "plots"}
        assert Path(run.info.artifact_uri).is_relative_to(workspace.folder)
    version = client.get_model_version_by_alias(model, "champion")
    assert int(version.version) == 2
    assert version.tags["monitoring_run_id"] == changed.info.run_id
    assert "newer rows" in version.tags["decision"]

    # The world stays as it was then: that is no evidence for another retraining.
    assert after.data.tags["drift_detected"] == "true"
    again = workspace.run(
        "monitor",
        model_name=model,
        log_uri=f"sqlite:///{folder}/predictions.db",
        retrain="auto",
    )
    assert again.returncode == 0, again.stderr
    assert "not trained again: it led to a retraining already" in again.stderr
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
