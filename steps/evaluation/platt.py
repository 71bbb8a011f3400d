"""Platt scaling: calibration of scores by a line on their log-odds, and its cross-fitted gain.

Platt 1999, "Probabilistic Outputs for Support Vector Machines". The slope is positive, so that
ranks, and with them KS, ROC AUC and average precision, stay as they are. The log-odds are not
clipped: that would tie scores.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from serving.model.probabilities import LARGEST_INTERCEPT, Calibration, calibrated
from steps.evaluation.metrics import Floats, Labels, row_losses
from steps.evaluation.stratified_folds import stratified_folds

ITERATIONS = 100
IDENTITY = Calibration(slope=1.0, intercept=0.0)


@dataclass(frozen=True)
class PlattScaling:
    """The calibration of a model, learned on rows that the model was not fitted on.

    Attributes:
        calibration: Slope and intercept; None if the scores stay as they are.
        scores: The calibrated scores of the rows, shape (n_rows,).
        reason: Why there is a calibration, or none.
        log_loss: Of the scores before their calibration; 0 if there is none.
        cross_fitted_log_loss: The same with slope and intercept learned on other rows, so that it
            is not flattered.
        standard_error: The paired standard error of the difference between both.
    """

    calibration: Calibration | None
    scores: Floats
    reason: str
    log_loss: float = 0.0
    cross_fitted_log_loss: float = 0.0
    standard_error: float = 0.0

    def __str__(self) -> str:
        if self.calibration is None:
            return f"none: {self.reason}"
        line = f"slope {self.calibration.slope:.4g}, intercept {self.calibration.intercept:.4g}"
        return f"{line}: {self.reason}"


def uncalibrated(scores: Floats, reason: str) -> PlattScaling:
    """Return that scores stay as they are, for a reason."""
    return PlattScaling(None, scores, reason)


def learn_calibration(y: Labels, scores: Floats) -> PlattScaling:
    """Return the calibration of scores, if it lowers their cross-fitted log loss.

    It is kept if the log loss, with slope and intercept learned on the other four of five
    stratified folds, is lower by more than its paired standard error, and if it ties no rows.

    Args:
        y: The labels, at least five of either class, shape (n_rows,).
        scores: Probabilities of class 1, shape (n_rows,).
    """
    whole = fit_calibration(y, scores)
    if whole is None:
        return uncalibrated(scores, "no finite positive slope minimises the log loss")
    cross_fitted = _cross_fitted(y, scores, whole)
    if cross_fitted is None:
        return uncalibrated(scores, "no finite positive slope minimises the log loss of a fold")
    before, after = (row_losses(y, each)["log_loss"] for each in (scores, cross_fitted))
    gains = before - after
    error = float(gains.std(ddof=1) / np.sqrt(len(gains)))
    reason = f"change of cross-fitted log loss {-gains.mean():+.2g}, standard error {error:.2g}"
    if not gains.mean() > error:
        return uncalibrated(scores, reason)
    calibrated_scores = calibrated(scores, whole)
    if not _same_order(scores, calibrated_scores):
        return uncalibrated(scores, f"it would tie scores; {reason}")
    return PlattScaling(
        whole, calibrated_scores, reason, float(before.mean()), float(after.mean()), error
    )


def fit_calibration(y: Labels, scores: Floats, start: Calibration = IDENTITY) -> Calibration | None:
    """Return the slope and intercept of least log loss; None if the slope is not positive.

    There is none either if a threshold separates the classes: the steeper the better then.

    Args:
        y: The labels, shape (n_rows,).
        scores: Probabilities of class 1, shape (n_rows,). Those of exactly 0 and 1 stay what they
            are under any calibration, and are left out.
        start: Where the search begins.
    """
    inner = (scores > 0) & (scores < 1)
    labels, log_odds = y[inner], np.log(scores[inner] / (1.0 - scores[inner]))
    positives, negatives = log_odds[labels == 1], log_odds[labels == 0]
    if not len(positives) or not len(negatives):
        return None
    if positives.min() >= negatives.max() or negatives.min() >= positives.max():
        return None
    slope, intercept = _least_log_loss(labels, log_odds, start)
    if not (np.isfinite(slope) and slope > 0 and abs(intercept) <= LARGEST_INTERCEPT):
        return None
    return Calibration(slope, intercept)


def _least_log_loss(y: Labels, log_odds: Floats, start: Calibration) -> tuple[float, float]:
    """Return slope and intercept of the unpenalised logistic regression on log-odds."""
    signs = np.where(y == 1, 1.0, -1.0)

    def loss(line: Floats) -> float:
        return float(np.logaddexp(0.0, -signs * (line[0] * log_odds + line[1])).mean())

    def gradient(line: Floats) -> Floats:
        errors = expit(line[0] * log_odds + line[1]) - y
        return np.array([np.mean(errors * log_odds), errors.mean()])

    def hessian(line: Floats) -> Floats:
        p = expit(line[0] * log_odds + line[1])
        weights = p * (1.0 - p)
        mixed = np.mean(weights * log_odds)
        return np.array([[np.mean(weights * log_odds**2), mixed], [mixed, weights.mean()]])

    found = minimize(
        loss,
        np.array([start.slope, start.intercept]),
        jac=gradient,
        hess=hessian,
        method="trust-exact",
        options={"gtol": 1e-10, "maxiter": ITERATIONS},
    )
    slope, intercept = found.x.tolist()
    return slope, intercept


def _cross_fitted(y: Labels, scores: Floats, start: Calibration) -> Floats | None:
    """Return scores calibrated on other folds; None if one of them has no calibration.

    Each search begins at `start`, the calibration of all rows, which is near.
    """
    found = np.empty(len(y))
    for rows, held_out in stratified_folds(y):
        calibration = fit_calibration(y[rows], scores[rows], start)
        if calibration is None:
            return None
        found[held_out] = calibrated(scores[held_out], calibration)
    return found


def _same_order(before: Floats, after: Floats) -> bool:
    """Return whether the same rows are ordered, and tied, in the same way."""
    ranks_before = np.unique(before, return_inverse=True)[1]
    ranks_after = np.unique(after, return_inverse=True)[1]
    return bool((ranks_before == ranks_after).all())
