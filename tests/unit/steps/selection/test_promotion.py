"""Promotion rules, on the same test rows for champion and challenger."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from steps.data.fingerprints import RowFingerprints
from steps.data.splits import Split
from steps.evaluation.intervals import Interval
from steps.evaluation.paired import PairedDifference
from steps.selection.incumbent import Incumbent
from steps.selection.promotion import Comparison, Decision, decide


@pytest.fixture(scope="module")
def holdout() -> Split:
    random = np.random.default_rng(1)
    y = np.r_[np.ones(80, int), np.zeros(3000, int)]
    frame = pd.DataFrame({"V1": random.normal(size=len(y)) + 2.5 * y, "Class": y})
    return Split("test", Path(), ["V1"], "Class", in_memory=frame)


def fingerprints(rows: int = 600, until: str = "20.0") -> RowFingerprints:
    return RowFingerprints(np.arange(rows, dtype=np.uint64), rows, until)


@pytest.mark.quick
class TestDecide:
    """The present champion scores with a little noise, the challenger with more or with less."""

    def decide(
        self, test: Split, promotion: str, noise: float, fitted: RowFingerprints | None = None
    ):
        incumbent = self.incumbent(test)
        return decide(
            promotion, "ks", test, self.scores(test, noise), fitted or fingerprints(), incumbent
        )

    def scores(self, test: Split, noise: float):
        random = np.random.default_rng(2)
        return expit(test.frame["V1"].to_numpy() + noise * random.normal(size=len(test.frame)))

    def incumbent(self, test: Split, **others) -> Incumbent:
        unseen = np.ones(len(test.frame), bool)
        return Incumbent(
            **{
                "version": "4",
                "fingerprints": fingerprints(),
                "scores": self.scores(test, 0.3),
                "unseen": unseen,
            }
            | others
        )

    def test_better_promotes_any_improvement(self, holdout):
        assert self.decide(holdout, "better", 0.2).promoted
        assert not self.decide(holdout, "better", 0.3).promoted
        assert not self.decide(holdout, "better", 0.4).promoted

    def test_significant_promotes_significant_improvement_only(self, holdout):
        assert not self.decide(holdout, "significant", 0.2).promoted
        noisy = self.incumbent(holdout, scores=self.scores(holdout, 3.0))
        ours = self.scores(holdout, 0.0)
        assert decide("significant", "ks", holdout, ours, fingerprints(), noisy).promoted

    @pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
    def test_other_metrics(self, holdout, metric):
        noisy = self.incumbent(holdout, scores=self.scores(holdout, 3.0))
        good, same = self.scores(holdout, 0.0), noisy.scores
        assert decide("significant", metric, holdout, good, fingerprints(), noisy).promoted
        assert not decide("significant", metric, holdout, same, fingerprints(), noisy).promoted

    def test_auto_without_newer_rows_needs_significance(self, holdout):
        decision = self.decide(holdout, "auto", 0.2)
        assert not decision.promoted
        assert decision.reason.startswith("it is not significantly better: test ks 0.")

    def test_auto_promotes_noninferior_on_newer_or_more_rows(self, holdout):
        for fitted, words in (
            (fingerprints(until="21.0"), "newer rows"),
            (fingerprints(601), "more rows"),
        ):
            decision = self.decide(holdout, "auto", 0.4, fitted)
            assert decision.promoted
            assert words in decision.reason
        worse = self.decide(holdout, "auto", 4.0, fingerprints(601))
        assert not worse.promoted
        assert "significantly worse" in worse.reason

    def test_significantly_better_is_never_inferior(self):
        with_few_positives = PairedDifference(0.2, Interval(0.05, 0.35), -0.03, positives=8)
        compared = Comparison("roc_auc", "1", "champion", 0.9, 0.7, with_few_positives, 300, 0)
        assert compared.not_inferior

    def test_auto_says_how_many_positives_are_missing(self, holdout):
        decision = self.decide(holdout, "auto", 0.6, fingerprints(601))
        assert not decision.promoted
        found = re.match(
            r"with 80 positives in the comparison, its ks may be more than 0.05 below that of the "
            r"champion, version 4 \(lower bound of the difference -0.\d+\); about ([\d,]+) more ",
            decision.reason,
        )
        assert found, decision.reason
        assert int(found[1].replace(",", "")) > 0

    def test_auto_compares_with_the_anchor(self, holdout):
        def decide_with(noise_of_anchor):
            anchor = self.incumbent(
                holdout, version="1", scores=self.scores(holdout, noise_of_anchor)
            )
            incumbent = self.incumbent(holdout, scores=self.scores(holdout, 1.5))
            ours = self.scores(holdout, 1.4)
            return decide("auto", "ks", holdout, ours, fingerprints(601), incumbent, anchor)

        assert decide_with(1.5).promoted
        refused = decide_with(0.0)
        assert not refused.promoted
        assert "the anchor, version 1" in refused.reason
        assert "; anchor: test ks" in refused.reason

    def test_significantly_better_version_becomes_anchor(self, holdout):
        assert decide("auto", "ks", holdout, holdout.y, fingerprints(), None).becomes_anchor
        assert not self.decide(holdout, "auto", 0.31, fingerprints(601)).becomes_anchor
        noisy = self.incumbent(holdout, scores=self.scores(holdout, 3.0))
        ours = self.scores(holdout, 0.0)
        for promotion in ("auto", "significant", "always"):
            decision = decide(promotion, "ks", holdout, ours, fingerprints(601), noisy)
            assert decision.promoted
            assert decision.becomes_anchor

    def test_deleted_anchor_is_left_out(self, holdout):
        anchor = self.incumbent(holdout, version="1", scores=None, problem="it was deleted")
        incumbent = self.incumbent(holdout)
        decision = decide(
            "auto", "ks", holdout, incumbent.scores, fingerprints(601), incumbent, anchor
        )
        assert decision.promoted
        assert decision.reason.endswith("anchor: version 1 cannot be scored: it was deleted")

    def test_auto_promotes_same_model_with_another_threshold(self, holdout):
        incumbent = self.incumbent(holdout)
        ours = (holdout, incumbent.scores, fingerprints(), incumbent, None)
        decision = decide("auto", "ks", *ours, "0.2 (alerts=1%)")
        assert decision.promoted
        assert (
            decision.reason
            == "it is the model of version 4 with another threshold, 0.2 (alerts=1%)"
        )
        assert not decide("auto", "ks", *ours).promoted
        assert not decide("significant", "ks", *ours, "0.2 (alerts=1%)").promoted

    def test_always_promotes(self, holdout):
        assert self.decide(holdout, "always", 4.0).promoted

    @pytest.mark.parametrize("first", [True, False])
    def test_auto_refuses_model_no_better_than_chance(self, holdout, first):
        backward = 1 - self.scores(holdout, 0.3)
        incumbent = None if first else self.incumbent(holdout, scores=None, problem="gone")
        decision = decide("auto", "ks", holdout, backward, fingerprints(601), incumbent)
        assert not decision.promoted
        assert decision.reason == (
            "it is no better than chance on the test rows (one-sided Mann-Whitney p = 1, above "
            "0.025), so promotion=auto registers nothing; -P promotion=always would register it "
            "and make it the champion"
        )
        assert decide("always", "ks", holdout, backward, fingerprints(), incumbent).promoted

    def test_reason_has_figures(self, holdout):
        reason = self.decide(holdout, "better", 0.4).reason
        assert reason.startswith("it is not better: test ks 0.")
        assert "of version 4, a difference of -0." in reason
        assert reason.endswith("on 3,080 rows")

    def test_rows_seen_by_incumbent_are_left_out(self, holdout):
        unseen = np.arange(len(holdout.frame)) % 2 == 0
        cheating = np.where(unseen, 0.5, holdout.y)  # perfect where it has seen the rows
        incumbent = self.incumbent(holdout, unseen=unseen, scores=cheating)
        ours = self.scores(holdout, 0.3)
        decision = decide("significant", "ks", holdout, ours, fingerprints(), incumbent)
        assert decision.promoted
        assert "on 1,540 rows (1,540 left out: version 4 has seen them)" in decision.reason

    def test_too_few_unseen_rows_keep_champion(self, holdout):
        unseen = np.arange(len(holdout.frame)) >= 76  # four positives
        incumbent = self.incumbent(holdout, unseen=unseen)
        decision = decide("better", "ks", holdout, holdout.y, fingerprints(), incumbent)
        assert not decision.promoted
        assert "too few to compare on" in decision.reason

    def test_unscorable_champion_is_replaced(self, holdout):
        incumbent = self.incumbent(holdout, scores=None, problem="column V1 is gone")
        ours = self.scores(holdout, 0.3)
        decision = decide("better", "ks", holdout, ours, fingerprints(), incumbent)
        assert decision == Decision(
            True, "version 4 cannot be scored on this data: column V1 is gone", becomes_anchor=True
        )
