"""Greedy selection of an ensemble's members, and its cross-fitted scores.

Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble Selection from Libraries of Models":
the candidate that lowers the loss of the mean most is added, again and again; one may be added
several times.
"""

import numpy as np

from serving.model.probabilities import clipped_log_odds
from steps.evaluation.metrics import Floats, Labels
from steps.evaluation.stratified_folds import stratified_folds

MAX_MEMBERS = 5
# Weights are multiples of one of the shares up to this.
ROUNDS = 20


def select_weights(y: Labels, scores: Floats) -> Floats:
    """Return the weight of each candidate, shape (n_candidates,); at most five are not 0.

    They are those of the mean of log-odds, clipped at ±15, with the lowest log loss of all rounds.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_candidates, n_rows).
    """
    return _select(np.where(y == 1, 1.0, -1.0), clipped_log_odds(scores))


def cross_fitted_scores(y: Labels, scores: Floats) -> Floats:
    """Return the scores of ensembles whose weights were selected on other rows, shape (n_rows,).

    The rows are divided into five stratified folds; for each, the weights are selected on the
    other four. An ensemble that is judged on the rows of its selection would be flattered.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_candidates, n_rows).
    """
    signs, log_odds = np.where(y == 1, 1.0, -1.0), clipped_log_odds(scores)
    found = np.empty(len(y))
    for rows, held_out in stratified_folds(y):
        weights = _select(signs[rows], log_odds[:, rows])
        found[held_out] = weights @ log_odds[:, held_out]
    return 1.0 / (1.0 + np.exp(-found))


def _select(signs: Floats, log_odds: Floats) -> Floats:
    """Return weights that add up to 1, for labels of 1 and -1."""
    margins = signs * log_odds  # the log-odds of each row's own class
    counts = np.zeros(len(margins), dtype=np.int64)
    total = np.zeros(margins.shape[1])
    lowest, best = np.inf, counts.copy()
    for count in range(1, ROUNDS + 1):
        allowed = counts > 0 if (counts > 0).sum() == MAX_MEMBERS else np.ones(len(counts), bool)
        losses = {
            int(place): _log_loss((total + margins[place]) / count)
            for place in np.flatnonzero(allowed)
        }
        chosen = min(losses, key=losses.__getitem__)
        counts[chosen] += 1
        total += margins[chosen]
        if losses[chosen] < lowest:
            lowest, best = losses[chosen], counts.copy()
    weights: Floats = best / best.sum()
    return weights


def _log_loss(margins: Floats) -> float:
    return float(np.log1p(np.exp(-margins)).mean())
