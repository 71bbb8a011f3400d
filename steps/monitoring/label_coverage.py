"""Unequal coverage of scores by labels, which biases live metrics.

Where only alerts are investigated, missed positives have no label: recall and KS look better than
they are, and precision is unaffected. Where only confirmed positives are reported, it is the
other way round. Either shows in the log: the share of labelled predictions depends on the score.
"""

import numpy as np
import pandas as pd
from scipy.stats import chi2

from steps.evaluation.metrics import Floats
from steps.monitoring.window import MAX_PERIODS, periods_of

# Predictions below the median, up to the ninth decile, and above it; alerts are a group apart.
QUANTILES = (0.5, 0.9)
GROUPS = ("lower half of scores", "scores up to the ninth decile", "highest tenth", "alerts")
# Differences that are smaller, or that chance explains, do not matter to the metrics.
MIN_RATIO, MAX_P_VALUE = 1.5, 1e-4


def describe_coverage_bias(rows: pd.DataFrame) -> str:
    """Return how labels cover the scores of a version unequally; an empty string if they do not.

    Labels are compared with their expected number by group of scores, given the share of labelled
    predictions in each of up to 12 periods: late labels alone are no bias. The test is that of
    Mantel and Haenszel (1959), group against rest, with Bonferroni's correction.

    Args:
        rows: predictions of one version, oldest first, with the columns of `Window.rows`.
    """
    if rows.empty:
        return ""
    quantiles = rows["score"].quantile(QUANTILES)
    shape = (MAX_PERIODS, len(GROUPS))
    observed, expected, variance = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for period, members in enumerate(periods_of(rows, MAX_PERIODS)):
        size = len(members)
        if size < 2:
            continue
        groups = np.searchsorted(quantiles, members["score"], side="left")
        groups = np.where(members["alert"], len(QUANTILES) + 1, groups)
        share = members["labelled"].mean()
        counts = np.bincount(groups, minlength=len(GROUPS))
        observed[period] = np.bincount(groups, members["labelled"], len(GROUPS))
        expected[period] = counts * share
        variance[period] = counts * (1 - counts / size) * share * (1 - share) * size / (size - 1)
    return _describe(observed.sum(axis=0), expected.sum(axis=0), variance.sum(axis=0))


def _describe(observed: Floats, expected: Floats, variance: Floats) -> str:
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = chi2.sf((observed - expected) ** 2 / variance, df=1) * len(GROUPS)
        ratios = observed / expected
    biased = [
        f"{name} have {ratios[group]:.2g} times as many labels as equal coverage would give"
        for group, name in enumerate(GROUPS)
        if p_values[group] < MAX_P_VALUE
        and (ratios[group] > MIN_RATIO or ratios[group] < 1 / MIN_RATIO)
    ]
    return "; ".join(biased)
