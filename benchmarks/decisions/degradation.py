"""False alarms and power of the degradation test, and of its default floor by rows.

Labelled rows arrive at random times, and a window of 168 hours is assessed every hour. Its KS is
bounded at a grid of thresholds instead of all scores: the bound is never higher for that, so alarms
are, if anything, too many. A finer grid serves single looks.
"""

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from benchmarks.decisions.populations import POPULATIONS, draw, true_rates
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import MIN_ROWS_PER_CLASS
from steps.monitoring.degradation import LOOKS_Z, floor_of, is_degraded

TEST, LIVE = (57, 500), (57, 200, 1000)
ROWS, POSITIVE_SHARE = (200, 1_000, 10_000), 0.05
NEGATIVES_EACH = 19
WINDOWS, HOURS = 100, 168
KS, DROPS = 0.85, (0.05, 0.10, 0.20)
GRID, FINE_GRID = np.linspace(3.2, 0.4, 36), np.linspace(4.5, -0.5, 1001)


def _counts(random, population, ks, live, shape, thresholds=FINE_GRID):
    """Draw positive and negative rows at or above each threshold, for each period of `shape`.

    Args:
        random: the source of randomness.
        population: the population that the rows are drawn from.
        ks: the true KS.
        live: expected positives of a period.
        shape: the number of periods, of any dimensions.
        thresholds: the thresholds, descending.

    Returns:
        Counts of positives and of negatives, of `shape` and one more dimension: the thresholds,
        and as its last element all rows.
    """
    counts = []
    for rates, rows in zip(
        true_rates(population, ks, thresholds), (live, NEGATIVES_EACH * live), strict=True
    ):
        shares = np.diff(rates, prepend=0, append=1)
        expected = np.broadcast_to(rows * shares, (*shape, len(shares)))
        counts.append(random.poisson(expected).cumsum(axis=-1))
    return counts


def _upper_bounds(positives, negatives):
    """Return the bound of `ks_upper_bound` at `LOOKS_Z`; infinite with too few rows of a class."""
    (true, high), (false, low) = _bounds(positives, 1), _bounds(negatives, 0)
    bound = (true - false + np.hypot(high - true, false - low)).max(axis=-1)
    rows = np.minimum(positives[..., -1], negatives[..., -1])
    return np.where(rows < MIN_ROWS_PER_CLASS["test"], np.inf, bound)


def _bounds(counts, side):
    """Return the rate at each threshold and the lower (0) or upper (1) end of its interval."""
    found, trials = counts[..., :-1], np.maximum(counts[..., -1:], 1)
    ends = proportion_confint(found, trials, 2 * norm.sf(LOOKS_Z), "wilson")
    return found / trials, ends[side]


def test_estimates(random, population: str, test: int, champions: int) -> list[Estimate]:
    """Return the estimates of champions with a true KS of 0.85 on as many positive test rows."""
    ks = [np.full(champions, KS)]
    ((true, false),) = draw(random, population, ks, test, NEGATIVES_EACH * test)
    y = np.r_[np.ones(test, np.int64), np.zeros(NEGATIVES_EACH * test, np.int64)]
    return [Estimate(y, expit(scores)) for scores in np.hstack([true, false]).astype(float)]


def floors(random, population: str, test: int, champions: int) -> list[float]:
    """Return the floor of each champion."""
    estimates = test_estimates(random, population, test, champions)
    return [floor_of(each.value("ks"), each.interval("ks")) for each in estimates]


def false_alarm_rate(
    live: int, test: int, champions: int, population: str = "binormal", seed: int = 1
) -> float:
    """Return the share of stable champions with an alarm in 100 windows of hourly looks.

    Args:
        live: expected positive labels of a window.
        test: positive test rows.
        champions: number of simulated champions.
        population: the population that the rows are drawn from.
        seed: of the source of randomness.
    """
    random = np.random.default_rng(seed)
    hours = ((WINDOWS + 1) * HOURS,)
    alarms = 0
    for floor in floors(random, population, test, champions):
        by_hour = _counts(random, population, KS, live / HOURS, hours, GRID)
        totals = [counts.cumsum(axis=0, dtype=np.int32) for counts in by_hour]
        bounds = _upper_bounds(*(total[HOURS:] - total[:-HOURS] for total in totals))
        alarms += bool(is_degraded(bounds.min(), floor))
    return alarms / champions


def power(
    live: int, test: int, drop: float, champions: int, population: str = "binormal", seed: int = 1
) -> float:
    """Return the share of champions whose drop in KS one look at a full window detects."""
    random = np.random.default_rng(seed)
    bounds = _upper_bounds(*_counts(random, population, KS - drop, live, (champions,)))
    return float((bounds < floors(random, population, test, champions)).mean())


def earlier_rate(
    live: int, test: int, champions: int, population: str = "binormal", seed: int = 1
) -> float:
    """Return the share of looks with an alarm by the rule of earlier releases.

    It called a live value below the lower end of the 95 % interval on the test rows degraded.
    """
    random = np.random.default_rng(seed)
    rates = [
        counts[..., :-1] / np.maximum(counts[..., -1:], 1)
        for counts in _counts(random, population, KS, live, (champions,))
    ]
    floor = [
        each.interval("ks").low for each in test_estimates(random, population, test, champions)
    ]
    return float(((rates[0] - rates[1]).max(axis=-1) < floor).mean())


def table(champions: int = 100, looks: int = 500) -> pd.DataFrame:
    """Return false alarm rates and power by the positives of test and live window.

    Of both populations, it is the one with more false alarms, or with less power.
    """
    rows = {}
    for test in TEST:
        for live in LIVE:
            row = {"false alarms": _of_both(max, false_alarm_rate, live, test, champions)}
            for drop in DROPS:
                row[f"drop of {drop:.2f}"] = _of_both(min, power, live, test, drop, looks)
            row["false alarms a look, before"] = _of_both(max, earlier_rate, live, test, looks)
            rows[test, live] = row
    return pd.DataFrame(rows)


def table_by_rows(champions: int = 100) -> pd.DataFrame:
    """Return the false alarm rates of the default floor by the labelled rows of a window."""
    rates = {
        rows: {
            f"false alarms, {test} positive test rows": _of_both(
                max, false_alarm_rate, round(POSITIVE_SHARE * rows), test, champions
            )
            for test in TEST
        }
        for rows in ROWS
    }
    return pd.DataFrame(rates)


def _of_both(worst, rate, *arguments):
    return worst(rate(*arguments, population) for population in POPULATIONS)
