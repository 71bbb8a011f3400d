"""Geometry of the pictures on the page: positions in SVG, which the template draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from steps.data_page.bins import Bin
from steps.data_page.profiles import Histogram as Distribution
from steps.data_page.profiles import Period

# The size of all pictures in units of their own; the page stretches them to its columns.
WIDTH, HEIGHT = 100.0, 100.0


def share_axis(bins: Sequence[Bin]) -> float:
    """Return the share of rows at the right end of the axis."""
    return max(share for bin_ in bins for share in bin_.shares.values())


@dataclass(frozen=True)
class RateAxis:
    """An axis of target rates.

    Attributes:
        end: the rate at its right end.
        base: the position of the rate of all training rows.
    """

    end: float
    base: float

    @classmethod
    def of(cls, bins: Sequence[Bin], base: float) -> Self:
        """Return an axis with all rates; intervals of few rows may end outside."""
        rates = [bin_.rate for bin_ in bins if bin_.rate is not None]
        highs = [bin_.interval.high for bin_ in bins if bin_.rate is not None]
        end = min(max([*highs, base]), 1.5 * max([*rates, base]), 1.0)
        return cls(end, WIDTH * base / end)

    def position(self, rate: float) -> float:
        """Return the position of a rate, at most at the end."""
        return round(WIDTH * min(rate / self.end, 1.0), 2)


@dataclass(frozen=True)
class Histogram:
    """Outlines of a distribution, one for each split.

    Attributes:
        low: the text at the left end.
        high: the text at the right end.
        outlines: the path in SVG of each split.
    """

    low: str
    high: str
    outlines: dict[str, str]

    @classmethod
    def of(cls, found: Distribution | None) -> Self | None:
        """Return the outlines; None without a distribution."""
        if found is None:
            return None
        highest = max(share for shares in found.shares.values() for share in shares) or 1.0
        outlines = {name: _steps(shares, highest) for name, shares in found.shares.items()}
        return cls(found.low, found.high, outlines)


def _steps(shares: Sequence[float], highest: float) -> str:
    width = WIDTH / len(shares)
    corners = [f"M0 {HEIGHT:.0f}"]
    for place, share in enumerate(shares):
        corners.append(f"V{HEIGHT * (1 - share / highest):.1f}H{width * (place + 1):.1f}")
    return f"{''.join(corners)}V{HEIGHT:.0f}"


@dataclass(frozen=True)
class TimeChart:
    """Target rates over time.

    Attributes:
        periods: the periods with the position of each.
        line: the path in SVG through all of them.
        end: the rate at the top.
        base: the height of the rate of the training rows.
        borders: the positions between two splits.
    """

    periods: list[tuple[float, float, float, float, Period]]
    line: str
    end: float
    base: float
    borders: list[float]

    @classmethod
    def of(cls, periods: Sequence[Period], base: float) -> Self | None:
        """Return the chart; None without periods or without a difference in time."""
        if not periods or periods[0].time == periods[-1].time:
            return None
        start, span = periods[0].time, periods[-1].time - periods[0].time
        end = max([base, *(period.interval.high for period in periods)])

        def height(rate: float) -> float:
            return round(HEIGHT * (1 - rate / end), 2)

        found = [
            (
                round(WIDTH * (period.time - start) / span, 2),
                height(period.rate),
                height(period.interval.low),
                height(period.interval.high),
                period,
            )
            for period in periods
        ]
        line = "M" + "L".join(f"{x} {y}" for x, y, *_ in found)
        borders = [(a[0] + b[0]) / 2 for a, b in pairwise(found) if a[4].split != b[4].split]
        return cls(found, line, end, height(base), borders if len(borders) == 2 else [])
