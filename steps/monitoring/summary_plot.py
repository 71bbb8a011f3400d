"""Summary picture of a monitored window."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steps.evaluation.intervals import Interval
from steps.evaluation.metrics import Floats
from steps.monitoring.drift import Drift, as_log_odds
from steps.monitoring.performance import Performance
from steps.plots.style import MARK, NEGATIVE, POSITIVE, drawing

MAX_FEATURES = 20
# Longer names would leave no room for the picture.
MAX_CHARACTERS = 26


@drawing()
def summary_picture(
    title: str,
    drift: Drift | str,
    performance: Performance | str,
    test_scores: Floats,
    live_scores: Floats,
    test_metric: tuple[float, Interval] | None,
) -> Figure:
    """Draw drift over time, the shares of unusual values, the scores, and the live metric.

    Args:
        title: title of the picture.
        drift: drift of the window, or the reason why it could not be measured.
        performance: performance in the window, or the reason why it could not be measured.
        test_scores: the champion's scores of test rows, shape (n_scores,).
        live_scores: the champion's scores in the window, shape (n_predictions,).
        test_metric: champion metric on the test rows, with its interval.
    """
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    figure.suptitle(title, fontsize=12, weight="bold")
    axes = figure.subplot_mosaic("asb;asc", width_ratios=[1, 0.3, 0.95])
    _draw_drift(axes["a"], axes["s"], drift)
    _draw_scores(axes["b"], test_scores, live_scores)
    _draw_live_metric(axes["c"], performance, test_metric)
    return figure


def _draw_drift(axes: Axes, beside: Axes, drift: Drift | str) -> None:
    axes.set_title("PSI by feature and time", fontsize=10)
    if isinstance(drift, str):
        beside.set_axis_off()
        _draw_reason(axes, drift)
        return
    by_mean = drift.periods.mean(axis=1).sort_values(ascending=False).index
    shown = by_mean[:MAX_FEATURES]
    _draw_psi(axes, drift.periods.loc[shown], drift.psi_limit)
    _draw_shares(beside, drift.unusual_shares.reindex(shown))


def _draw_psi(axes: Axes, periods: pd.DataFrame, limit: float) -> None:
    image = axes.imshow(periods, aspect="auto", cmap="RdYlBu_r", vmin=0, vmax=2 * limit)
    # A name between two dollar signs is no formula.
    names = [_shortened(name) for name in periods.index]
    axes.set_yticks(range(len(periods)), names, fontsize=8, parse_math=False)
    times = _format_times(pd.DatetimeIndex(periods.columns))
    axes.set_xticks(range(len(times)), times, rotation=45, ha="right", fontsize=8)
    axes.set_xlabel("first prediction of each period (UTC)")
    for row, column in np.argwhere(periods.to_numpy() > limit):
        value = float(periods.to_numpy()[row, column])
        color = "white" if value > 1.5 * limit else "black"
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=color)
    bar = axes.figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.9, pad=0.02)
    bar.set_label(f"PSI (values above the limit of {limit:g} are printed)", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _draw_shares(axes: Axes, shares: pd.DataFrame) -> None:
    """Draw the shares of the whole window beside the features; a dash where there can be none."""
    axes.set_title("Share of rows", fontsize=10)
    values = shares.to_numpy(np.float64)
    axes.imshow(np.nan_to_num(values), aspect="auto", cmap="Purples", vmin=0, vmax=1)
    axes.set_yticks([])
    axes.set_xticks(range(shares.shape[1]), list(shares), rotation=45, ha="right", fontsize=8)
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > 0.6 else "black"
        text = _percent(float(value))
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _percent(share: float) -> str:
    if np.isnan(share):
        return "-"
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def _shortened(name: str) -> str:
    half = MAX_CHARACTERS // 2
    return name if len(name) <= MAX_CHARACTERS else f"{name[:half]}…{name[-half + 1 :]}"


def _draw_scores(axes: Axes, test_scores: Floats, live_scores: Floats) -> None:
    axes.set_title("Score distribution", fontsize=10)
    log_odds = {"test rows": as_log_odds(test_scores), "live": as_log_odds(live_scores)}
    both = pd.concat(log_odds.values())
    edges = np.linspace(float(both.min()), float(both.max()), 40)
    for (name, values), color in zip(log_odds.items(), (NEGATIVE, POSITIVE), strict=True):
        if len(values):
            counts, _ = np.histogram(values, edges)
            axes.stairs(counts / len(values), edges, color=color, label=name)
    axes.set(xlabel="score (log-odds)", ylabel="share of rows", yscale="log")
    axes.minorticks_off()
    axes.legend()


def _draw_live_metric(
    axes: Axes, performance: Performance | str, test_metric: tuple[float, Interval] | None
) -> None:
    if isinstance(performance, str):
        axes.set_title("Live performance", fontsize=10)
        _draw_reason(axes, performance)
        return
    axes.set_title(f"Live {performance.metric} with 95 % intervals", fontsize=10)
    periods = performance.periods
    positions = np.arange(len(periods))
    axes.vlines(positions, periods["low"], periods["high"], color=POSITIVE, lw=2)
    axes.plot(positions, periods["value"], "o", color=POSITIVE, label="live")
    times = _format_times(pd.DatetimeIndex(periods.index))
    axes.set_xticks(positions, times, rotation=45, ha="right")
    axes.tick_params(axis="x", labelsize=8)
    if test_metric:
        value, interval = test_metric
        axes.axhline(value, color=NEGATIVE, lw=1, ls="--", label="test rows")
        axes.axhspan(interval.low, interval.high, color=NEGATIVE, alpha=0.15)
    if performance.floor is not None:
        axes.axhline(performance.floor, color=MARK, lw=1, ls=":", label="floor")
    axes.legend(fontsize=8)
    axes.margins(x=0.1)


def _format_times(times: pd.DatetimeIndex) -> list[str]:
    """Format times with as few parts as distinguish them."""
    if not len(times):
        return []
    hours = (times.max() - times.min()) / pd.Timedelta(hours=1)
    form = "%m-%d" if hours >= 48 else "%m-%d %H:%M" if hours > 1 else "%H:%M:%S"
    return list(times.strftime(form))


def _draw_reason(axes: Axes, reason: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, f"not measured:\n{reason}", ha="center", va="center", wrap=True)
