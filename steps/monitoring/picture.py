"""One picture of a window that a person understands in ten seconds."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steps.monitoring.drift import Drift, as_log_odds
from steps.monitoring.performance import Performance
from steps.pipeline.evaluation import Floats
from steps.pipeline.intervals import Interval
from steps.pipeline.plots import MARK, NEGATIVE, POSITIVE, drawing

MOST_FEATURES = 20


@drawing()
def summary_picture(
    title: str,
    drift: Drift | str,
    performance: Performance | str,
    scores: tuple[Floats, Floats],
    test: tuple[float, Interval] | None,
) -> Figure:
    """Return the picture: drift over time, scores then and now, and the live metric.

    Args:
        title: what was found, in words.
        drift: what was measured, or why it could not be.
        performance: the same of the live metrics.
        scores: of the test rows and of the window.
        test: the champion metric on the test rows, with its interval.
    """
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    figure.suptitle(title, fontsize=12, weight="bold")
    places = figure.subplot_mosaic("ab;ac", width_ratios=[1.25, 1])
    _heat_map(places["a"], drift)
    _scores(places["b"], *scores)
    _live(places["c"], performance, test)
    return figure


def _heat_map(axes: Axes, drift: Drift | str) -> None:
    axes.set_title("PSI of each feature over time", fontsize=10)
    if isinstance(drift, str):
        _say(axes, drift)
        return
    worst_first = drift.periods.mean(axis=1).sort_values(ascending=False).index
    shown = drift.periods.loc[worst_first[:MOST_FEATURES]]
    # Twice the limit is as red as it gets.
    image = axes.imshow(shown, aspect="auto", cmap="RdYlBu_r", vmin=0, vmax=2 * drift.limit)
    axes.set_yticks(range(len(shown)), shown.index, fontsize=8)
    labels = _moments(pd.DatetimeIndex(shown.columns))
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=8)
    axes.set_xlabel("time of the first prediction of each part")
    for row, column in np.argwhere(shown.to_numpy() > drift.limit):
        value = float(shown.to_numpy()[row, column])
        color = "white" if value > 1.5 * drift.limit else "black"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.5, pad=0.02)
    bar.set_label(f"PSI; a number: above the limit of {drift.limit:g}", fontsize=8)


def _scores(axes: Axes, then: Floats, now: Floats) -> None:
    axes.set_title("Scores then (test rows) and now", fontsize=10)
    odds = {"then": as_log_odds(then), "now": as_log_odds(now)}
    both = pd.concat(odds.values())
    edges = np.linspace(float(both.min()), float(both.max()), 40)
    for (name, values), color in zip(odds.items(), (NEGATIVE, POSITIVE), strict=True):
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values, edges, weights=weights, histtype="step", color=color, label=name)
    axes.set(xlabel="score as log-odds (0: a half)", ylabel="share of rows", yscale="log")
    axes.minorticks_off()
    axes.legend()


def _live(axes: Axes, performance: Performance | str, test: tuple[float, Interval] | None) -> None:
    if isinstance(performance, str):
        axes.set_title("Live performance", fontsize=10)
        _say(axes, performance)
        return
    axes.set_title(f"Live {performance.metric} with 95 % intervals", fontsize=10)
    periods = performance.periods
    places = np.arange(len(periods))
    axes.vlines(places, periods["low"], periods["high"], color=POSITIVE, lw=2)
    axes.plot(places, periods["value"], "o", color=POSITIVE, label="live")
    axes.set_xticks(places, _moments(pd.DatetimeIndex(periods.index)), rotation=45, ha="right")
    axes.tick_params(axis="x", labelsize=8)
    if test:
        value, interval = test
        axes.axhline(value, color=NEGATIVE, lw=1, ls="--", label="on the test rows")
        axes.axhspan(interval.low, interval.high, color=NEGATIVE, alpha=0.15)
    if performance.floor is not None:
        axes.axhline(performance.floor, color=MARK, lw=1, ls=":", label="floor")
    axes.legend(fontsize=8, loc="lower left")
    axes.margins(x=0.1)


def _moments(moments: pd.DatetimeIndex) -> list[str]:
    """Write moments as short as they differ."""
    if not len(moments):
        return []
    span = moments.max() - moments.min()
    form = "%m-%d" if span.days >= 2 else "%m-%d %H:%M" if span.seconds > 3600 else "%H:%M:%S"
    return list(moments.strftime(form))


def _say(axes: Axes, why: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"not computed:\n{why}", ha="center", va="center", wrap=True)
