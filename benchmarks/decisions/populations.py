"""Populations that simulated tables are drawn from.

`binormal`: the scores of both classes are normal. `mixture`: most positives stand out and some
look like negatives, as in real fraud. Models share part of their noise: they see the same rows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.integrate import trapezoid
from scipy.stats import norm

Floats = npt.NDArray[np.float64]

POPULATIONS = ("binormal", "mixture")
SHARED = 0.8  # of the variance of two models' scores
HARD, EASY = 0.4, 4.0
GRID = np.linspace(-5, 9, 2000)
HARD_SHARES = np.linspace(0.6, 0, 301)
MIXTURE_KS = np.array(
    [
        (norm.cdf(GRID) - h * norm.cdf(GRID - HARD) - (1 - h) * norm.cdf(GRID - EASY)).max()
        for h in HARD_SHARES
    ]
)


def draw(
    random: np.random.Generator,
    population: str,
    ks: Sequence[Floats],
    positives: int,
    negatives: int,
) -> list[tuple[Floats, Floats]]:
    """Draw the scores of several models on the same rows, on many tables.

    Args:
        random: the source of randomness.
        population: `binormal` or `mixture`.
        ks: the true KS of each model on each table, shape (n_tables,) each.
        positives: positive rows of each table.
        negatives: negative rows of each table.

    Returns:
        The scores of the positive and of the negative rows by each model, shapes (n_tables,
        positives) and (n_tables, negatives).
    """
    tables = len(ks[0])
    shapes = [(tables, positives), (tables, negatives)]
    shared = [SHARED**0.5 * random.standard_normal(shape, np.float32) for shape in shapes]
    hard = random.random((tables, positives), np.float32)
    models = []
    for of_model in ks:
        own = [random.standard_normal(shape, np.float32) for shape in shapes]
        true, false = (s + (1 - SHARED) ** 0.5 * o for s, o in zip(shared, own, strict=True))
        models.append((true + distance(population, of_model, hard), false))
    return models


def distance(population: str, ks: Floats, hard: Floats) -> Floats:
    """Return how far each positive row lies above the negatives, for a true KS by table."""
    if population == "binormal":
        return 2 * norm.ppf((ks + 1) / 2)[:, None].astype(np.float32)
    share = np.interp(ks, MIXTURE_KS, HARD_SHARES)[:, None]
    return np.where(hard < share, np.float32(HARD), np.float32(EASY))


def ks_of(true: Floats, false: Floats) -> tuple[Floats, Floats]:
    """Return the KS of each table and the threshold where it is reached, shape (n_tables,)."""
    scores = np.concatenate([true, false], axis=1)
    order = np.argsort(-scores, axis=1)
    steps = np.where(order < true.shape[1], 1 / true.shape[1], -1 / false.shape[1])
    curves = np.cumsum(steps, axis=1)
    reached = curves.argmax(axis=1)
    rows = np.arange(len(scores))
    return curves[rows, reached], scores[rows, order[rows, reached]]


def true_rates(population: str, ks: float, thresholds: Floats) -> tuple[Floats, Floats]:
    """Return the true and the false positive rate of a model with a true KS at each threshold."""
    false = norm.sf(thresholds)
    if population == "binormal":
        return norm.sf(thresholds - 2 * norm.ppf((ks + 1) / 2)), false
    share = np.interp(ks, MIXTURE_KS, HARD_SHARES)
    return share * norm.sf(thresholds - HARD) + (1 - share) * norm.sf(thresholds - EASY), false


def true_value(metric: str, population: str, ks: float, negatives_each: float) -> float:
    """Return the true ROC AUC or average precision of a model with a true KS.

    Args:
        metric: `roc_auc` or `average_precision`.
        population: `binormal` or `mixture`.
        ks: the true KS.
        negatives_each: negative rows for each positive one.
    """
    true, false = true_rates(population, ks, np.linspace(12, -6, 20_000))
    if metric == "roc_auc":
        return float(trapezoid(true, false))
    return float(trapezoid(true / (true + negatives_each * false), true))
