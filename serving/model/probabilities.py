"""Probabilities of class 1: correction to the training prior, calibration, and combination."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from serving.model.features import Floats

# The probability at log-odds of -15: no member can outvote the others with a probability of 0 or 1.
MIN_PROBABILITY = 1.0 / (1.0 + math.exp(15.0))
# The exponential of 710 is infinite.
LARGEST_INTERCEPT = 700.0


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: the line that maps log-odds to calibrated log-odds.

    Attributes:
        slope: Positive, so that the order of scores stays.
        intercept: Added to the product, at most ±700.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Annotated[
        float, Field(ge=-LARGEST_INTERCEPT, le=LARGEST_INTERCEPT, allow_inf_nan=False)
    ]


def correct_prior(probability: Floats, positive_weight: float) -> Floats:
    """Return the probabilities of a fit with weighted positives at the training prior.

    Weighting positives by w multiplies the odds by w; dividing them again gives
    p / (p + w (1 - p)), which is monotone and leaves ranks and KS unchanged
    (Elkan 2001, "The Foundations of Cost-Sensitive Learning", theorem 2).
    """
    return probability / (probability + positive_weight * (1.0 - probability))


def calibrated(probability: Floats, calibration: Calibration | None) -> Floats:
    """Return probabilities whose log-odds are `intercept + slope * log-odds`; 0 and 1 stay.

    Computed with odds instead of their logarithm, which would tie probabilities that differ by
    less than 1e-15 of their value.

    Args:
        probability: Probabilities, any shape.
        calibration: Slope and intercept; None for probabilities that stay as they are. As the slope
            is positive, so does the order; only neighbours may become tied.
    """
    if calibration is None:
        return probability
    certain = probability >= 1.0
    odds = probability / np.where(certain, 1.0, 1.0 - probability)
    with np.errstate(over="ignore", under="ignore"):
        odds = math.exp(calibration.intercept) * odds**calibration.slope
        # 1 - 1 / (1 + odds) keeps the digits of probabilities near 1, odds / (1 + odds) near 0.
        near_one = 1.0 - 1.0 / (1.0 + odds)
    small = np.minimum(odds, 1.0)
    return np.where(certain, 1.0, np.where(odds > 1.0, near_one, small / (1.0 + small)))


def clipped_log_odds(probability: Floats) -> Floats:
    """Return the log-odds of probabilities, clipped at ±15; any shape."""
    # Clipped before the division, which would be by 0 for a probability of 1.
    clipped = np.minimum(np.maximum(probability, MIN_PROBABILITY), 1.0 - MIN_PROBABILITY)
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
