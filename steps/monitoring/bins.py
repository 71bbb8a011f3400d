"""Bins in which the PSI compares two samples: tenths of the reference.

Bins of equal width, as Evidently makes them of numbers, hold nearly all rows in one as soon as a
single value lies far away. Evidently compares bins as categories instead.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from evidently.legacy.calculations.stattests import psi_stat_test
from evidently.legacy.core import ColumnType

from steps.pipeline.evaluation import Floats

TENTHS = np.linspace(0.1, 0.9, 9)
MISSING = -1


@dataclass(frozen=True)
class Bins:
    """Where the bins of a feature end.

    Attributes:
        edges: ascending; a value belongs to the bins below the edge that it equals.
        frequent: those edges that are more than a tenth of the reference: each is a bin of its
            own, or a feature with few values would lie in one bin.
    """

    edges: Floats
    frequent: Floats

    @classmethod
    def of(cls, reference: "pd.Series[float]") -> Self:
        """Divide a reference into tenths; missing values are a bin of their own."""
        known = reference.dropna().to_numpy(np.float64)
        tenths = np.quantile(known, TENTHS, method="inverted_cdf") if len(known) else np.empty(0)
        edges, counts = np.unique(tenths, return_counts=True)
        return cls(edges, edges[counts > 1])

    def numbers(self, values: "pd.Series[float]") -> npt.NDArray[np.int64]:
        """Return the bin of each value, shape (n_rows,), from 0 on; -1 where it is missing."""
        found = values.to_numpy(np.float64)
        below = np.searchsorted(self.edges, found, side="left")
        below += np.searchsorted(self.frequent, found, side="right")
        return np.where(np.isnan(found), MISSING, below).astype(np.int64)

    def names(self, values: "pd.Series[float]") -> npt.NDArray[Any]:
        """Return the bin of each value in words, which sort as the values do."""
        ends: list[str] = []
        for edge in self.edges:
            if edge in self.frequent:
                ends.append(f"below {edge:.4g}")
            ends.append(f"{edge:.4g}" if edge in self.frequent else f"to {edge:.4g}")
        ends.append(f"above {self.edges[-1]:.4g}" if len(self.edges) else "a value")
        named = [f"{place:02d} {end}" for place, end in enumerate(ends)]
        return np.array([*named, "missing"], dtype=object)[self.numbers(values)]


def psi(reference: "pd.Series[float]", current: "pd.Series[float]") -> float:
    """Return Evidently's PSI of two samples, in tenths of the reference."""
    bins = Bins.of(reference)
    then: pd.Series[int] = pd.Series(bins.numbers(reference))
    now: pd.Series[int] = pd.Series(bins.numbers(current))
    return float(psi_stat_test(then, now, ColumnType.Categorical, 0.0).drift_score)
