"""Contributions as bars for the start page."""

from dataclasses import dataclass

from serving.model.explanations import Explanation

MAX_BARS = 12
WIDTH = 100.0


@dataclass(frozen=True)
class Bar:
    """A bar on a scale of 0 to 100.

    Attributes:
        name: The column, or how many others the bar sums up.
        value: Its contribution in log-odds.
        start: The left end.
        length: The length.
        zero: The position of the contribution 0, the same for all bars.
    """

    name: str
    value: float
    start: float
    length: float
    zero: float


def bars(explanation: Explanation) -> list[Bar]:
    """Return the largest contributions, and one bar for the sum of the others."""
    ranked = sorted(explanation.contributions.items(), key=lambda item: -abs(item[1]))
    shown = ranked if len(ranked) <= MAX_BARS else ranked[: MAX_BARS - 1]
    if rest := ranked[len(shown) :]:
        shown = [*shown, (f"{len(rest)} others", sum(value for _, value in rest))]
    values = [value for _, value in shown]
    low, high = min(0.0, *values), max(0.0, *values)
    scale = WIDTH / (high - low or 1.0)
    return [
        Bar(name, value, scale * (min(value, 0.0) - low), scale * abs(value), -scale * low)
        for name, value in shown
    ]
