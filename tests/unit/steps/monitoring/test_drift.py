"""Drift of features and scores."""

from dataclasses import replace
from datetime import timedelta
from unittest.mock import Mock

import numpy as np
import pytest
from scipy.special import expit, logit

from steps.monitoring.drift import Drift, measure_drift
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.performance import measure_performance
from steps.monitoring.retraining_triggers import RetrainingTrigger
from tests.support.monitoring import START, feature_table, scored_window


@pytest.mark.quick
class TestDrift:
    def measure(self, window, reference, manifest):
        return measure_drift(window, reference, manifest, 0.2, 0.3)

    def test_unchanged_data_has_no_drift(self, reference, manifest):
        drift = self.measure(scored_window(3000, positives=0), reference, manifest)
        assert isinstance(drift, Drift)
        assert not drift.detected
        assert drift.psi.max() < 0.05
        assert drift.score_psi < 0.05
        assert str(drift).startswith("0 of 3 features have a PSI above 0.2; share 0.00, limit 0.3")

    def test_shifted_feature_is_named(self, reference, manifest):
        drift = self.measure(scored_window(1000, shift=3.0, positives=0), reference, manifest)
        assert drift.detected
        assert drift.drifted_features == ["V1"]
        assert drift.metrics["psi.V1"] > 1
        assert drift.metrics["out_of_range.V1"] > 0.2 > drift.metrics["out_of_range.V2"]
        assert drift.periods.shape == (3, 5)
        assert (drift.periods.loc["V1"] > 1).all()

    def test_missing_values_are_drift(self, reference, manifest):
        seen = scored_window(1000, positives=0)
        seen.features.loc[:499, "V2"] = np.nan
        seen.features["V3"] = np.nan
        drift = self.measure(seen, reference, manifest)
        assert drift.metrics["missing.V2"] == 0.5
        assert drift.metrics["missing.V3"] == 1.0
        assert drift.drifted_features == ["V3", "V2"]

    def test_outlier_does_not_hide_drift(self, reference, manifest):
        seen = scored_window(1000, shift=1.5, positives=0)
        drift = self.measure(seen, reference, manifest)
        seen.features.loc[0, "V1"] = 1e6
        assert self.measure(seen, reference, manifest).psi["V1"] == pytest.approx(
            drift.psi["V1"], rel=0.05
        )

    def test_predictions_with_other_features_are_ignored(self, reference, manifest):
        seen = scored_window(1000, positives=0)
        recent = replace(seen, features=seen.features.iloc[500:])
        periods = self.measure(recent, reference, manifest).periods
        assert periods.columns[0] == seen.rows["created_at"][500]
        none = replace(seen, features=seen.features.iloc[:0])
        assert "0 predictions with all features" in self.measure(none, reference, manifest)

    def test_sample_does_not_reduce_the_scores(self, reference, manifest):
        seen = scored_window(1000, positives=0)
        whole = self.measure(seen, reference, manifest)
        sampled = replace(seen, features=seen.features.iloc[::4])
        assert self.measure(sampled, reference, manifest).score_psi == whole.score_psi
        few = replace(seen, features=seen.features.iloc[::10], sampling_step=10)
        assert self.measure(few, reference, manifest) == (
            "in a sample of one in 10, 100 predictions with all features; at least 200 are "
            "required: choose a shorter window"
        )
        none = replace(few, features=few.features.iloc[:0])
        assert "shorter" not in self.measure(none, reference, manifest)

    def test_batch_with_one_time_has_all_periods(self, reference, manifest):
        seen = scored_window(1000)
        seen.rows["created_at"] = seen.labelled["created_at"] = START
        seen.labelled["true_label"] = (np.arange(1000) % 10 == 0).astype(int)  # 100 of 1
        assert self.measure(seen, reference, manifest).periods.shape == (3, 5)
        assert len(measure_performance(seen.labelled, 1000, "ks", 0.5).periods) == 6

    def test_scores_of_other_versions_are_ignored(self, reference, manifest):
        seen = scored_window(1000)
        seen.rows["by_champion"] = False
        drift = self.measure(seen, reference, manifest)
        assert drift.score_psi is None
        assert "too few predictions of this version" in str(drift)

    def test_too_few_rows(self, reference, manifest):
        assert self.measure(scored_window(50), reference, manifest) == (
            "50 predictions with all features; at least 200 are required"
        )


@pytest.mark.quick
def test_drift_after_retraining_is_relative_to_trigger(reference, manifest, monkeypatch):
    version = Mock(tags={"metric": "ks"})
    champion = MonitoredChampion(version, manifest, reference, None, 0.2, 0.3, None)

    def scored(rows):
        assert not rows.isna().any(axis=None)
        return np.random.default_rng(2).choice(reference.scores, len(rows))

    def scored_higher(rows):
        return expit(logit(scored(rows)) + 2)

    def drifted_since(features, window, scores):
        monkeypatch.setattr(MonitoredChampion, "_scores_of", lambda _, rows: scores(rows))
        trigger = RetrainingTrigger(START - timedelta(days=1), features)
        return champion.assess_since(trigger, window).drifted

    changed = scored_window(1000, shift=3.0, positives=0)
    assert champion.assess(changed).drifted
    as_then = feature_table(900, shift=3.0)
    assert not drifted_since(as_then, changed, scored)
    assert drifted_since(feature_table(900), changed, scored)
    assert drifted_since(feature_table(0), changed, scored)  # nothing was left of then
    assert drifted_since(as_then, changed, scored_higher)
    higher = replace(changed, rows=changed.rows.assign(score=scored_higher(changed.rows)))
    assert drifted_since(as_then, higher, scored)
    assert not drifted_since(as_then, higher, scored_higher)
    as_then.loc[0, "V1"] = None  # which has no score
    assert not drifted_since(as_then, higher, scored_higher)
    as_then.loc[100:, "V1"] = None
    assert drifted_since(as_then, higher, pytest.fail)  # too few rows are complete
