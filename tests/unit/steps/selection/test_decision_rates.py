"""Error rates of the decisions, in a short form of the simulations of docs/decisions.md."""

import numpy as np

from benchmarks.decisions import degradation, drift, promotion


def test_challenger_worse_by_the_margin_is_rarely_promoted():
    found = promotion.rates(57, 1500)
    assert found["worse"] <= 0.06  # 5 %, and the error of the simulation
    assert found["worse, before"] > 0.8
    assert 0.2 < found["equal"] < 0.5


def test_challenger_worse_by_the_margin_of_roc_auc_is_rarely_promoted():
    found = promotion.rates(200, 250, "roc_auc")
    assert found["worse"] <= 0.08  # 5 %, and the error of the simulation
    assert found["equal"] > 0.8


def test_champion_does_not_drift_down():
    after = promotion.champions(57, 60, "margin", rounds=15)
    before = promotion.champions(57, 60, "before", rounds=15)
    assert np.quantile(after, 0.05) > promotion.START - promotion.MARGINS["ks"]
    assert np.quantile(after, 0.05) > np.quantile(before, 0.05) + 0.05


def test_stable_champions_raise_no_alarm_in_100_windows():
    assert degradation.false_alarm_rate(live=15, test=57, champions=10) == 0
    assert degradation.power(200, 500, 0.2, 50) > 0.95
    assert degradation.earlier_rate(57, 57, 400) > 0.01


def test_stable_traffic_does_not_drift():
    found = drift.rates(200, 500)
    assert found["drift, 5 features"] == found["drift, 30 features"] == 0
