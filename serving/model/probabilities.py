"""Probabilities of class 1: their correction to the training prior, and their combination."""

import math
from collections.abc import Iterable

import numpy as np

from serving.model.features import Floats

# The probability at log-odds of -15: no member can outvote the others with a probability of 0 or 1.
LEAST_PROBABILITY = 1.0 / (1.0 + math.exp(15.0))


def correct_prior(probability: Floats, positive_weight: float) -> Floats:
    """Return the probabilities of a fit with weighted positives at the training prior.

    Weighting positives by w multiplies the odds by w; dividing them again gives
    p / (p + w (1 - p)), which is monotone and leaves ranks and KS unchanged
    (Elkan 2001, "The Foundations of Cost-Sensitive Learning", theorem 2).
    """
    return probability / (probability + positive_weight * (1.0 - probability))


def clipped_log_odds(probability: Floats) -> Floats:
    """Return the log-odds of probabilities, clipped at ±15; any shape."""
    # Clipped before the division, which would be by 0 for a probability of 1.
    clipped = np.minimum(np.maximum(probability, LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
    log_odds: Floats = np.log(clipped / (1.0 - clipped))
    return log_odds


def combine(probabilities: Iterable[Floats], weights: Iterable[float]) -> Floats:
    """Return the probabilities of an ensemble: the weighted mean of its members' log-odds.

    Args:
        probabilities: Each member's probabilities of the same rows, shape (n_rows,).
        weights: The weight of each member; they add up to 1.
    """
    # One by one: the order of summation of a matrix product depends on the number of rows.
    log_odds: Floats = sum(
        (
            weight * clipped_log_odds(probability)
            for weight, probability in zip(weights, probabilities, strict=True)
        ),
        start=np.zeros(1),
    )
    return 1.0 / (1.0 + np.exp(-log_odds))
