"""Contributions as bars for the start page."""

from dataclasses import dataclass

from serving.model.explanations import Explanation

MOST_BARS = 12
WIDTH = 100.0


@dataclass(frozen=True)
class Bar:
    """A bar from a zero line at half of the width of 100.

    Attributes:
        name: The column, or what the bar sums up.
        value: Its contribution in log-odds.
        start: The left end.
        length: The length.
    """

    name: str
    value: float
    start: float
    length: float


def bars(explanation: Explanation) -> list[Bar]:
    """Return the largest contributions, and one bar for the sum of the others."""
    ranked = sorted(explanation.contributions.items(), key=lambda item: -abs(item[1]))
    shown = ranked if len(ranked) <= MOST_BARS else ranked[: MOST_BARS - 1]
    if rest := ranked[len(shown) :]:
        shown = [*shown, (f"{len(rest)} other columns", sum(value for _, value in rest))]
    longest = max(abs(value) for _, value in shown) or 1.0
    scaled = [(name, value, WIDTH / 2 * abs(value) / longest) for name, value in shown]
    return [
        Bar(name, value, WIDTH / 2 - (length if value < 0 else 0.0), length)
        for name, value, length in scaled
    ]
