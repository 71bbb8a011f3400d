"""Performance on labelled predictions."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from steps.evaluation.intervals import Estimate
from steps.monitoring.label_coverage import describe_coverage_bias
from steps.monitoring.performance import Performance, measure_performance
from tests.support.monitoring import scored_window


@pytest.mark.quick
class TestPerformance:
    def test_live_metrics_have_intervals(self):
        found = measure_performance(scored_window(2000).labelled, 4000, "ks", 0.5)
        assert isinstance(found, Performance)
        for name in ("ks", "roc_auc", "average_precision", "recall_at_threshold", "calibration"):
            low, high = (found.logged_metrics[f"live_{name}_{end}"] for end in ("low", "high"))
            assert low <= found.logged_metrics[f"live_{name}"] <= high
        assert found.coverage == 0.5
        assert found.delay_hours == (3.0, 3.0)
        assert not found.degraded

    def test_metrics_are_those_of_labels_in_64_bits(self):
        labelled = scored_window(2000, positives=600).labelled
        found = measure_performance(labelled, 2000, "ks", 0.5)
        assert isinstance(found, Performance)
        expected = Estimate(labelled["true_label"].to_numpy(np.int64), labelled["score"].to_numpy())
        assert expected.metrics.items() <= found.metrics.items()
        assert expected.intervals.items() <= found.intervals.items()
        assert found.metrics["calibration"] == 600 / 2000 / labelled["score"].mean()

    def test_metric_below_floor_beyond_chance_is_degraded(self):
        for positives, floor, degraded in ((40, 0.95, False), (600, 0.95, True), (600, 0.8, False)):
            window = scored_window(2000, positives=positives)
            found = measure_performance(window.labelled, 2000, "ks", floor)
            assert found.metrics["ks"] < 0.95
            assert found.degraded == degraded
            relation = "below" if degraded else "not below"
            assert f", {relation} the floor of {floor:.3f} (upper bound" in str(found)

    def test_bias_suppresses_the_alarm(self):
        labelled = scored_window(2000, positives=600).labelled
        found = measure_performance(
            labelled, 2000, "ks", 0.95, "alerts have 9 times as many labels"
        )
        assert not found.degraded
        assert "biased and no reason for an alarm: alerts have 9 times" in str(found)

    def test_zero_scores_have_no_calibration(self):
        labelled = scored_window(1000).labelled.assign(score=0.0)
        found = measure_performance(labelled, 1000, "ks", 0.5)
        assert found.degraded
        assert found.metrics["ks"] == 0
        assert "live_calibration" not in found.logged_metrics

    def test_too_few_labels(self):
        assert measure_performance(scored_window(100, positives=2).labelled, 100, "ks", 0.5) == (
            "100 true labels for this version (2 positive, 98 negative); "
            "at least 5 of each class are required"
        )


@pytest.mark.quick
class TestCoverageBias:
    def rows(self, count: int = 6000) -> pd.DataFrame:
        random = np.random.default_rng(1)
        score = expit(random.normal(size=count) - 4)
        return pd.DataFrame({"score": score, "alert": score >= np.quantile(score, 0.97)})

    def test_labels_of_alerts_only_are_biased(self):
        rows = self.rows()
        chance = np.random.default_rng(2).random(len(rows))
        rows["labelled"] = rows["alert"] | (chance < 0.05)
        assert describe_coverage_bias(rows).endswith(
            "times as many labels as equal coverage would give"
        )
        assert "alerts have 1" in describe_coverage_bias(rows)

    def test_random_or_late_labels_are_not_biased(self):
        rows = self.rows()
        for share in (0.05, 0.5, 1.0):
            rows["labelled"] = np.random.default_rng(3).random(len(rows)) < share
            assert describe_coverage_bias(rows) == ""
        rising = rows.sort_values("score", ignore_index=True)  # the newest have no labels yet
        rising["labelled"] = np.arange(len(rising)) < 3000
        assert describe_coverage_bias(rising) == ""
        assert describe_coverage_bias(rows.iloc[:0]) == ""
