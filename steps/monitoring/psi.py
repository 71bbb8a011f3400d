"""Population stability index (PSI) over bins that suit the kind of a feature.

Evidently divides numeric columns into bins of equal width, so a single outlier puts nearly all
rows into one bin. Bins are passed to it as categories instead, for features of all kinds.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.model.features import Feature
from serving.model.preparation import MICROSECONDS
from serving.model.values import date_text
from steps.data.feature_frames import in_seconds
from steps.evaluation.metrics import Floats
from steps.evaluation.stability import psi_of_shares

Indices = npt.NDArray[np.int64]

DECILES = np.linspace(0.1, 0.9, 9)
# Rarer levels share bins of as many rows as deciles have. With smaller bins, stable traffic often
# has a PSI above 0.2 by chance (see docs/decisions.md).
LEVEL_BIN_SHARE = 0.1
MISSING = -1
# The words for booleans that are not text.
FALSE_AND_TRUE = ("false", "true")


class Bins(Protocol):
    """Bins of a column of typed values (see `steps.data.feature_frames`)."""

    def indices(self, values: "pd.Series[Any]") -> Indices:
        """Return the bin of each value, shape (n_rows,), from 0; -1 for missing values."""

    def names(self, values: "pd.Series[Any]") -> pd.Categorical:
        """Return the name of each value's bin, shape (n_rows,); names sort as the bins do."""


def bins_of(feature: Feature, reference: "pd.Series[Any]", seen: Collection[str]) -> Bins:
    """Return the bins of a feature, from a reference sample of its values.

    Args:
        feature: The feature.
        reference: The sample, typed.
        seen: Of a category, the levels that the champion was fitted on.
    """
    if feature.kind == "category":
        return LevelBins.of(reference, seen)
    if feature.kind == "boolean":
        return BooleanBins(feature.levels or FALSE_AND_TRUE)
    if feature.kind == "date":
        return DateBins(QuantileBins.of(in_seconds(reference)))
    return QuantileBins.of(reference)


@dataclass(frozen=True)
class QuantileBins:
    """Bins of a numeric column between the deciles of a reference sample.

    Attributes:
        edges: the distinct deciles, ascending; a value equal to an edge belongs below it.
        frequent: edges that equal two or more deciles. Each is a bin of its own; otherwise a
            column with few distinct values would have a single bin.
    """

    edges: Floats
    frequent: Floats

    @classmethod
    def of(cls, reference: "pd.Series[float]") -> Self:
        """Return the bins of a reference sample; missing values are a bin of their own."""
        known = reference.dropna().to_numpy(np.float64)
        deciles = np.quantile(known, DECILES, method="inverted_cdf") if len(known) else np.empty(0)
        edges, counts = np.unique(deciles, return_counts=True)
        return cls(edges, edges[counts > 1])

    def indices(self, values: "pd.Series[float]") -> Indices:
        """Return the bin of each value, shape (n_rows,), from 0; -1 for missing values."""
        numbers = values.to_numpy(np.float64)
        bins = np.searchsorted(self.edges, numbers, side="left")
        if len(self.frequent):
            bins += np.searchsorted(self.frequent, numbers, side="right")
        return np.where(np.isnan(numbers), MISSING, bins).astype(np.int64)

    def names(self, values: "pd.Series[float]") -> pd.Categorical:
        """Return the name of each value's bin, shape (n_rows,); names sort as the values do."""
        return _named(self.ranges([f"{edge:.4g}" for edge in self.edges]), self.indices(values))

    def ranges(self, edges: list[str]) -> list[str]:
        """Return the names of the bins, given those of the edges."""
        ranges: list[str] = []
        for edge, text in zip(self.edges, edges, strict=True):
            if edge in self.frequent:
                ranges.append(f"below {text}")
            ranges.append(text if edge in self.frequent else f"to {text}")
        ranges.append(f"above {edges[-1]}" if edges else "any value")
        return ranges


@dataclass(frozen=True)
class DateBins:
    """Bins of dates between the deciles of a reference sample."""

    seconds: QuantileBins

    def indices(self, values: "pd.Series[Any]") -> Indices:
        """Return the bin of each date, shape (n_rows,), from 0; -1 for missing dates."""
        return self.seconds.indices(in_seconds(values))

    def names(self, values: "pd.Series[Any]") -> pd.Categorical:
        """Return the name of each date's bin, shape (n_rows,); names sort as the dates do."""
        edges = [date_text(edge * MICROSECONDS, has_time=False) for edge in self.seconds.edges]
        return _named(self.seconds.ranges(edges), self.indices(values))


@dataclass(frozen=True)
class BooleanBins:
    """A bin for false and one for true.

    Attributes:
        words: the user's words for them.
    """

    words: tuple[str, ...]

    def indices(self, values: "pd.Series[Any]") -> Indices:
        """Return 0 for false, 1 for true, -1 for missing values, shape (n_rows,)."""
        return values.astype("Int8").fillna(MISSING).to_numpy(np.int64)

    def names(self, values: "pd.Series[Any]") -> pd.Categorical:
        """Return the word for each value, shape (n_rows,), after the number of its bin."""
        return _named(self.words, self.indices(values))


@dataclass(frozen=True)
class LevelBins:
    """Bins of a category: the frequent levels of a reference sample, and groups of the others.

    Attributes:
        bin_of: the bin of each level that the reference or the champion has seen; the next bin is
            that of unseen levels.
        labels: the names of the bins.
    """

    bin_of: dict[str, int]
    labels: list[str]

    @classmethod
    def of(
        cls,
        reference: "pd.Series[Any]",
        seen: Collection[str],
        bin_share: float = LEVEL_BIN_SHARE,
    ) -> Self:
        """Return the bins of a reference sample.

        Args:
            reference: The sample.
            seen: The levels that the champion was fitted on.
            bin_share: The share of the sample that levels with a bin of their own have.
        """
        shares = reference.value_counts(normalize=True, sort=False)
        shares = shares[shares > 0]
        levels = sorted(shares.index, key=lambda level: (-shares[level], level))
        bin_of: dict[str, int] = {}
        place, mass = 0, 0.0
        for level in levels:
            bin_of[level] = place
            mass += shares[level]
            if mass >= bin_share:
                place, mass = place + 1, 0.0
        bin_of |= dict.fromkeys((level for level in seen if level not in bin_of), place)
        return cls(bin_of, [*_group_names(bin_of), "unseen levels"])

    def indices(self, values: "pd.Series[Any]") -> Indices:
        """Return the bin of each level, shape (n_rows,), from 0; -1 for missing values."""
        unseen = len(self.labels) - 1
        bins = [self.bin_of.get(level, unseen) for level in values.cat.categories]
        # A code of -1 takes the last place.
        return np.array([*bins, MISSING], dtype=np.int64)[values.cat.codes.to_numpy()]

    def names(self, values: "pd.Series[Any]") -> pd.Categorical:
        """Return the name of each level's bin, shape (n_rows,), the most frequent first."""
        return _named(self.labels, self.indices(values))


def psi(reference: "pd.Series[Any]", current: "pd.Series[Any]", bins: Bins) -> float:
    """Return the PSI of two samples.

    It is the sum over all bins of (c - r) ln(c / r), for the shares c and r of the two samples
    (Siddiqi 2006, "Credit Risk Scorecards"), as computed by Evidently.
    """
    samples = [bins.indices(reference), bins.indices(current)]
    used = np.unique(np.concatenate(samples))
    return psi_of_shares(*([np.mean(sample == place) for place in used] for sample in samples))


def _group_names(bin_of: dict[str, int]) -> list[str]:
    """Return the name of each bin: its most frequent level, and how many others are in it."""
    members: dict[int, list[str]] = {}
    for level, place in bin_of.items():
        members.setdefault(place, []).append(level)
    return [
        first if not others else f"{first} and {len(others)} more"
        for first, *others in members.values()
    ]


def _named(labels: "list[str] | tuple[str, ...]", indices: Indices) -> pd.Categorical:
    names = [f"{index:02d} {label}" for index, label in enumerate(labels)]
    codes: Any = np.where(indices == MISSING, len(names), indices)
    named = pd.Categorical.from_codes(codes, pd.Index([*names, "missing"], dtype=object))
    # Evidently would draw empty bins.
    return named.remove_unused_categories()
