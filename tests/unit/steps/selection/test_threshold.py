"""Rules for the threshold."""

import numpy as np
import pytest

from steps.evaluation.metrics import threshold_metrics
from steps.runtime.errors import ParameterError
from steps.runtime.threshold_rule import ThresholdRule
from steps.selection.threshold import choose_threshold

pytestmark = pytest.mark.quick

Y = np.array([1, 0, 1, 1, 0, 0, 1, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("alerts=10%", 0.9),
        ("alerts=30%", 0.8),  # at 0.7 there are four
        ("alerts=40%", 0.7),
        ("alerts=100%", 0.1),
        ("recall=0.5", 0.7),
        ("recall=1", 0.4),
        ("precision=0.7", 0.7),
        ("precision=1", 0.9),
        ("precision=0.5", 0.4),  # at 0.3 there is one more false alarm
        ("cost=1:100", 0.9),
        ("cost=100:1", 0.4),
        ("cost=1:1", 0.7),
    ],
)
def test_rule_chooses_threshold(rule, threshold):
    assert choose_threshold(ThresholdRule.parse(rule), Y, SCORES) == threshold


def test_cost_rule_minimises_cost():
    random = np.random.default_rng(1)
    y = (random.random(3000) < 0.1).astype(np.int64)
    scores = random.random(3000) * 0.6 + 0.4 * y * random.random(3000)
    chosen = choose_threshold(ThresholdRule.parse("cost=12.5:2"), y, scores)

    def cost(threshold):
        labelled = scores >= threshold
        return 12.5 * (y[~labelled] == 1).sum() + 2 * (y[labelled] == 0).sum()

    assert cost(chosen) == min(map(cost, np.unique(scores)))


def test_precision_and_recall_are_reached_on_the_rows():
    random = np.random.default_rng(2)
    y = (random.random(2000) < 0.1).astype(np.int64)
    scores = random.random(2000) + y
    for name in ("precision", "recall"):
        threshold = choose_threshold(ThresholdRule.parse(f"{name}=0.8"), y, scores)
        assert threshold_metrics(y, scores, threshold)[f"{name}_at_threshold"] >= 0.8


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("precision=0.95", "threshold: precision=0.95 cannot be reached .* at most 0.6"),
        ("alerts=5%", "threshold: alerts=5% cannot be reached .* at least 10.000%"),
    ],
)
def test_unreachable_rule_is_one_line(rule, message):
    with pytest.raises(ParameterError, match=message) as caught:
        choose_threshold(ThresholdRule.parse(rule), 1 - Y if "prec" in rule else Y, SCORES)
    assert "\n" not in str(caught.value)


def test_cost_below_that_of_any_alert_is_one_line():
    y, scores = np.array([0, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    message = r"cost=1:10 is cheapest .* without any alert: 0.4 per row, and at least 2.2 with"
    with pytest.raises(ParameterError, match=message):
        choose_threshold(ThresholdRule.parse("cost=1:10"), y, scores)


@pytest.mark.parametrize(
    "text",
    ["", "f1", "cost=1", "cost=1:0", "cost=-1:1", "alerts=2", "alerts=0%", "alerts=101%",
     "precision=1.2", "recall=0", "recall=nan", "ks=1"],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"is not ks, cost=|must be"):
        ThresholdRule.parse(text)


def test_rule_is_shown_as_given():
    for text in ("ks", "cost=500:10", "alerts=0.5%", "precision=0.9", "recall=.9"):
        assert str(ThresholdRule.parse(f" {text} ")) == text
