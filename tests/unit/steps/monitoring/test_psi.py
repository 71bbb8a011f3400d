"""Bins of each kind and the population stability index."""

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from steps.monitoring.psi import QuantileBins, bins_of, psi


@pytest.mark.quick
class TestQuantileBins:
    @staticmethod
    def psi(reference, current) -> float:
        return psi(reference, current, QuantileBins.of(reference))

    def test_frequent_value_has_own_bin(self):
        mostly_1 = pd.Series([0.0] * 3 + [1.0] * 97)
        bins = QuantileBins.of(mostly_1)
        assert bins.indices(pd.Series([0.0, 1.0, 2.0, np.nan])).tolist() == [0, 1, 2, -1]
        assert list(bins.names(pd.Series([0.0, 1.0, 2.0, np.nan]))) == [
            "00 below 1", "01 1", "02 above 1", "missing",
        ]  # fmt: skip
        assert psi(mostly_1, pd.Series([0.0] * 50 + [1.0] * 50), bins) > 1

    def test_empty_bins_have_no_name(self):
        names = QuantileBins.of(pd.Series([0.0, 1.0])).names(pd.Series([5.0, 5.0]))
        assert names.categories.tolist() == ["04 above 1"]

    def test_wide_tail_does_not_hide_drift(self):
        amounts = pd.Series(np.random.default_rng(0).lognormal(3, 2, 10_000))
        assert self.psi(amounts, amounts * 3) > 0.2
        assert self.psi(amounts.iloc[:5000], amounts.iloc[5000:]) < 0.02

    def test_empty_reference_is_comparable(self):
        nothing, something = pd.Series([np.nan] * 100), pd.Series([1.0, 2.0])
        assert self.psi(nothing, nothing) == 0
        assert self.psi(nothing, something) > 1


@pytest.mark.quick
class TestLevelBins:
    REFERENCE = pd.Series(
        pd.Categorical(["a"] * 60 + ["b"] * 25 + ["c"] * 6 + ["d"] * 5 + ["e"] * 4 + [None] * 10)
    )

    def names(self, *levels):
        bins = bins_of(Feature("job", "category"), self.REFERENCE, ["a", "b", "c", "d", "e", "f"])
        return list(bins.names(pd.Series(pd.Categorical(levels))))

    def test_rare_levels_share_bins(self):
        assert self.names("a", "b", "c", "d") == [
            "00 a", "01 b", "02 c and 1 more", "02 c and 1 more",
        ]  # fmt: skip

    def test_level_that_only_the_champion_has_seen_is_rare(self):
        assert self.names("e", "f") == ["03 e and 1 more"] * 2

    def test_unseen_and_missing_levels_have_bins_of_their_own(self):
        assert self.names("x", None, "y") == ["04 unseen levels", "missing", "04 unseen levels"]

    def test_unseen_levels_are_drift(self):
        bins = bins_of(Feature("job", "category"), self.REFERENCE, ["a", "b"])
        new = pd.Series(pd.Categorical(["x"] * 10 + self.REFERENCE.tolist()[:90]))
        assert psi(self.REFERENCE, self.REFERENCE, bins) == 0
        assert psi(self.REFERENCE, new, bins) > 0.5

    def test_stable_traffic_with_many_levels_is_below_the_limit(self):
        random = np.random.default_rng(0)
        levels = [f"city {number}" for number in range(300)]
        draw = lambda rows: pd.Series(pd.Categorical(random.choice(levels, rows)))  # noqa: E731
        reference = draw(10_000)
        bins = bins_of(Feature("city", "category"), reference, levels)
        assert max(psi(reference, draw(200), bins) for _ in range(20)) < 0.2
        skewed = pd.Series(pd.Categorical(["city 7"] * 60 + draw(140).tolist()))
        assert psi(reference, skewed, bins) > 0.2


@pytest.mark.quick
def test_booleans_have_the_users_words():
    values = pd.Series([False, True, None, True], dtype="boolean")
    for words, expected in (((), ["00 false", "01 true"]), (("No", "Yes"), ["00 No", "01 Yes"])):
        bins = bins_of(Feature("member", "boolean", levels=words), values, ())
        assert list(bins.names(values)) == [*expected, "missing", expected[1]]
        assert bins.indices(values).tolist() == [0, 1, -1, 1]


@pytest.mark.quick
def test_dates_are_binned_between_deciles():
    days = pd.Series(pd.date_range("2020-01-01", periods=100).astype("datetime64[us]"))
    bins = bins_of(Feature("since", "date"), days, ())
    assert set(np.bincount(bins.indices(days))) <= {9, 10, 11}
    later = pd.Series(np.array(["2019-12-31", "2021-01-01", "NaT"], "datetime64[us]"))
    assert list(bins.names(later)) == ["00 to 2020-01-10", "09 above 2020-03-30", "missing"]
