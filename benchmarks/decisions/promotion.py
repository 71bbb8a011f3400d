"""Promotion with `auto`: the true KS of the champion over rounds of retraining."""

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid
from scipy.optimize import brentq

from benchmarks.decisions.populations import (
    MIXTURE_KS,
    POPULATIONS,
    Floats,
    draw,
    ks_of,
    true_value,
)
from steps.evaluation.intervals import Estimate, Z
from steps.evaluation.operating_points import OperatingPoints
from steps.evaluation.paired import (
    ONE_SIDED_Z,
    Discordant,
    ks_difference_width,
    paired_difference,
)
from steps.selection.promotion import MARGINS

POSITIVES = (15, 57, 200, 1000)
NEGATIVES_EACH, MAX_NEGATIVES = 20, 2000
ROUNDS, STEP = 50, 0.03
START, BEST, WORST = 0.85, 0.97, 0.05
BLOCK = 250


def differences(random, population, ks, positives, metric):
    """Return the differences of the first model from each other one, and the distances to bounds.

    Args:
        random: the source of randomness.
        population: the population that the tables are drawn from.
        ks: the true KS of each model on each table, shape (n_tables,) each.
        positives: positive rows of each table.
        metric: the champion metric.

    Returns:
        For each of the other models, the differences, and the distances to the one-sided 95 %
        lower bound and to the lower end of the 95 % interval, shape (n_tables,) each.
    """
    models = draw(random, population, ks, positives, _negatives(positives))
    if metric == "ks":
        return _differences_of_ks(models)
    ours, *others = [_estimates(*model) for model in models]
    return [_differences_of(metric, ours, other) for other in others]


def _negatives(positives):
    return min(NEGATIVES_EACH * positives, MAX_NEGATIVES)


def _estimates(true, false):
    y = np.r_[np.ones(true.shape[1], np.int64), np.zeros(false.shape[1], np.int64)]
    return [UncheckedEstimate(y, scores) for scores in np.hstack([true, false]).astype(float)]


class UncheckedEstimate(Estimate):
    """An estimate without scikit-learn's checks, which take most of the time of a small table."""

    def value(self, metric: str) -> float:
        """Return ROC AUC or average precision."""
        points = OperatingPoints.of(self.y, self.scores)
        if metric == "average_precision":
            return float(np.diff(points.recall, prepend=0) @ points.precision)
        false = (points.alerts - points.true_positives) / (points.rows - points.positives)
        return float(trapezoid(np.r_[0, points.recall], np.r_[0, false]))


def _differences_of(metric, first, second):
    found = [paired_difference(*pair, metric) for pair in zip(first, second, strict=True)]
    rows = [
        (each.value, each.value - each.lower_bound, each.value - each.interval.low)
        for each in found
    ]
    return tuple(np.array(rows).T)


def _differences_of_ks(models):
    """Do the same as `paired_difference`, on all tables at once."""
    labelled = []
    for true, false in models:
        value, threshold = ks_of(true, false)
        labelled.append((value, true >= threshold[:, None], false >= threshold[:, None]))
    ours, *others = labelled
    results = []
    for other in others:
        cells = [
            Discordant((a & ~b).sum(axis=1), (b & ~a).sum(axis=1), a.shape[1])
            for a, b in zip(ours[1:], other[1:], strict=True)
        ]
        widths = [ks_difference_width(*cells, z) for z in (ONE_SIDED_Z, Z)]
        results.append((ours[0] - other[0], *widths))
    return results


def _not_inferior(value, bound, width, metric):
    return (value - width > 0) | (value - bound > -MARGINS[metric])


def ks_worse_by_margin(metric: str, population: str, positives: int) -> float:
    """Return the true KS of a model that is worse than the champion by the margin of a metric."""
    if metric == "ks":
        return START - MARGINS["ks"]
    each = _negatives(positives) / positives
    wanted = true_value(metric, population, START, each) - MARGINS[metric]
    lowest = MIXTURE_KS[0] + 1e-6 if population == "mixture" else WORST
    return brentq(lambda ks: true_value(metric, population, ks, each) - wanted, lowest, START)


def rates(positives: int, tables: int, metric: str = "ks", seed: int = 1) -> dict[str, float]:
    """Return how often `auto` promotes a challenger on newer rows, and how often it did before.

    `equal` refers to a challenger as good as the champion, `worse` to one worse by the margin.
    The rates are the higher ones of both populations for `worse`, the lower for `equal`.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, worst in (("equal", min), ("worse", max)):
        shares = []
        for population in POPULATIONS:
            ks = START if name == "equal" else ks_worse_by_margin(metric, population, positives)
            models = [np.full(BLOCK, ks), np.full(BLOCK, START)]
            blocks = []
            for _ in range(max(1, tables // BLOCK)):
                blocks += differences(random, population, models, positives, metric)
            value, bound, width = (np.concatenate(part) for part in zip(*blocks, strict=True))
            promoted = _not_inferior(value, bound, width, metric)
            shares.append([promoted.mean(), (value + width >= 0).mean()])
        found[name], found[f"{name}, before"] = (worst(part) for part in zip(*shares, strict=True))
    return found


def champions(
    positives: int,
    lines: int,
    rule: str,
    metric: str = "ks",
    rounds: int = ROUNDS,
    seed: int = 1,
) -> Floats:
    """Return the true KS of the champion after `rounds`, shape (n_lines,).

    Each challenger is fitted on newer rows; its true KS is Normal(0, 0.03) off the champion's.

    Args:
        positives: positive rows of each test.
        lines: number of simulated lines of champions.
        rule: `margin` (to champion and anchor), `no anchor` (to the champion alone), or `before`
            (not significantly worse than the champion).
        metric: the champion metric.
        rounds: number of challengers.
        seed: of the source of randomness.
    """
    random = np.random.default_rng(seed)
    champion, anchor = np.full(lines, START), np.full(lines, START)
    for _ in range(rounds):
        challenger = np.clip(champion + STEP * random.standard_normal(lines), WORST, BEST)
        with_champion, with_anchor = differences(
            random, "binormal", [challenger, champion, anchor], positives, metric
        )
        value, _, width = with_champion
        better = value - width > 0
        if rule == "before":
            promoted = value + width >= 0
        else:
            promoted = _not_inferior(*with_champion, metric)
            if rule == "margin":
                promoted &= _not_inferior(*with_anchor, metric)
        champion = np.where(promoted, challenger, champion)
        anchor = np.where(promoted & better, challenger, anchor)
    return champion


def table(lines: int = 200, tables: int = 2000) -> pd.DataFrame:
    """Return the rates and the true KS of the champion after 50 rounds, by metric and positives."""
    columns = {}
    for metric in MARGINS:
        rules = ("margin", "no anchor", "before") if metric == "ks" else ("margin",)
        for positives in POSITIVES:
            found = rates(positives, tables, metric)
            column = {
                "equal refused": 1 - found["equal"],
                "worse promoted": found["worse"],
            }
            if metric == "ks":
                column["worse promoted, before"] = found["worse, before"]
            for rule in rules:
                final = champions(positives, lines, rule, metric)
                column[f"mean KS, {rule}"] = final.mean()
                column[f"5 % quantile, {rule}"] = np.quantile(final, 0.05)
            columns[metric, positives] = column
    return pd.DataFrame(columns)
