"""Recall, precision, alerts and cost at every threshold of a model."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from steps.evaluation.metrics import Floats, Labels


@dataclass(frozen=True)
class OperatingPoints:
    """What a model does at each of its distinct scores, taken as the threshold.

    Attributes:
        thresholds: the distinct scores, descending, shape (n_thresholds,).
        true_positives: positive rows at or above each threshold, the same shape.
        alerts: all rows at or above each threshold, the same shape.
        positives: number of positive rows.
        rows: number of rows.
    """

    thresholds: Floats
    true_positives: Floats
    alerts: Floats
    positives: int
    rows: int

    @classmethod
    def of(cls, y: Labels, scores: Floats) -> Self:
        """Return the operating points of `scores`, shape (n_rows,), with labels `y`."""
        order = np.argsort(-scores, kind="stable")
        descending = scores[order]
        last = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
        true = np.cumsum(y[order] == 1)[last].astype(np.float64)
        return cls(descending[last], true, last + 1.0, int((y == 1).sum()), len(y))

    @property
    def recall(self) -> Floats:
        """Share of positive rows that are labelled 1."""
        return self.true_positives / self.positives

    @property
    def precision(self) -> Floats:
        """Share of positive rows among those labelled 1."""
        return self.true_positives / self.alerts

    @property
    def alert_rate(self) -> Floats:
        """Share of rows that are labelled 1."""
        return self.alerts / self.rows

    def cost(self, miss: float, alarm: float) -> Floats:
        """Return the cost per row, given the costs of a missed positive and of a false alarm."""
        misses, alarms = self.positives - self.true_positives, self.alerts - self.true_positives
        return np.asarray((miss * misses + alarm * alarms) / self.rows)
