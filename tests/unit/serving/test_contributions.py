"""Contributions as bars."""

import pytest

from serving.model.explanations import Explanation
from serving.web.contributions import MAX_BARS, bars

pytestmark = pytest.mark.quick


def test_bars_share_a_scale_around_zero():
    found = bars(Explanation(0.0, {"a": 1.0, "b": -3.0}))
    assert [(bar.name, bar.start, bar.length, bar.zero) for bar in found] == [
        ("b", 0.0, 75.0, 75.0),
        ("a", 75.0, 25.0, 75.0),
    ]


def test_bars_of_one_sign_use_the_whole_width():
    assert [(bar.start, bar.length) for bar in bars(Explanation(0.0, {"a": 2.0}))] == [(0, 100)]


def test_small_contributions_are_summed_up():
    contributions = {f"c{place}": float(place) for place in range(MAX_BARS + 3)}
    *_, last = found = bars(Explanation(0.0, contributions))
    assert len(found) == MAX_BARS
    assert (last.name, last.value) == ("4 others", 0.0 + 1 + 2 + 3)


def test_no_contribution_has_no_length():
    assert [bar.length for bar in bars(Explanation(0.0, {"a": 0.0, "b": 0.0}))] == [0, 0]
