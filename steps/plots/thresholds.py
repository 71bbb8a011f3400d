"""Expected cost and alerts over the threshold, gains and lift of one model."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steps.evaluation.metrics import Floats, Labels
from steps.evaluation.operating_points import OperatingPoints
from steps.plots.style import LOWEST_SCORE, MARK, NEGATIVE, PLAIN_NUMBERS, POSITIVE, drawing

PER_ROWS = 10_000
# Costs of a missed positive, in false alarms, if the rule of the threshold names none.
COST_RATIOS = (5.0, 50.0, 500.0)
MAX_POINTS = 1000


@drawing()
def threshold_plots(
    y: Labels, scores: Floats, threshold: float, costs: tuple[float, ...], title: str
) -> dict[str, Figure]:
    """Return the plots of cost, alerts, gains and lift, by file name.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
        threshold: the model's threshold, which is marked.
        costs: costs of a missed positive and of a false alarm; empty if none were given.
        title: the title of each plot.
    """
    points = _thinned(OperatingPoints.of(y, scores))
    figures = {}
    for name, draw in {"cost": _cost, "alerts": _alerts, "gains": _gains, "lift": _lift}.items():
        figure = Figure(figsize=(6.4, 4.8))
        axes = figure.add_axes((0.13, 0.12, 0.83, 0.8))
        draw(axes, points, threshold, costs)
        axes.minorticks_off()
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25)
        axes.legend(loc="best")
        figures[f"{name}.png"] = figure
    return figures


def _thinned(points: OperatingPoints) -> OperatingPoints:
    last = len(points.thresholds) - 1
    kept = np.unique(np.geomspace(1, last + 1, MAX_POINTS).astype(int) - 1)
    return OperatingPoints(
        points.thresholds[kept],
        points.true_positives[kept],
        points.alerts[kept],
        points.positives,
        points.rows,
    )


def _cost(axes: Axes, points: OperatingPoints, threshold: float, costs: tuple[float, ...]) -> None:
    pairs = [costs] if costs else [(ratio, 1.0) for ratio in COST_RATIOS]
    for miss, alarm in pairs:
        values = points.cost(miss, alarm) * PER_ROWS
        axes.plot(_shown(points.thresholds), values, label=f"missed {miss:g}, alarm {alarm:g}")
    _mark(axes, threshold)
    axes.set(yscale="log", ylabel=f"cost per {PER_ROWS:,} rows")


def _alerts(axes: Axes, points: OperatingPoints, threshold: float, _: tuple[float, ...]) -> None:
    shown = _shown(points.thresholds)
    alerts, found = points.alert_rate * PER_ROWS, points.true_positives / points.rows * PER_ROWS
    axes.plot(shown, alerts, color=NEGATIVE, label="alerts")
    axes.plot(shown, np.maximum(found, 1e-2), color=POSITIVE, label="of these, positive")
    _mark(axes, threshold)
    axes.set(yscale="log", ylabel=f"per {PER_ROWS:,} rows")


def _gains(axes: Axes, points: OperatingPoints, threshold: float, _: tuple[float, ...]) -> None:
    axes.plot(points.alert_rate, points.recall, color=POSITIVE, label="model")
    axes.plot(points.alert_rate, points.alert_rate, color=MARK, lw=0.8, ls=":", label="chance")
    _mark_rate(axes, points, threshold)
    axes.set(ylabel="share of positives found")


def _lift(axes: Axes, points: OperatingPoints, threshold: float, _: tuple[float, ...]) -> None:
    lift = points.recall / points.alert_rate
    axes.plot(points.alert_rate, lift, color=POSITIVE, label="model")
    axes.axhline(1, color=MARK, lw=0.8, ls=":", label="chance")
    _mark_rate(axes, points, threshold)
    axes.set(ylabel="positives found, relative to chance")


def _shown(thresholds: Floats) -> Floats:
    return np.clip(thresholds, LOWEST_SCORE, 1 - LOWEST_SCORE)


def _mark(axes: Axes, threshold: float) -> None:
    mark = float(np.clip(threshold, LOWEST_SCORE, 1 - LOWEST_SCORE))
    axes.axvline(mark, color=MARK, ls="--", label=f"threshold {threshold:.3g}")
    axes.set(xscale="logit", xlabel="threshold")
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)


def _mark_rate(axes: Axes, points: OperatingPoints, threshold: float) -> None:
    reached = points.alert_rate[points.thresholds >= threshold]
    if len(reached):
        axes.axvline(reached[-1], color=MARK, ls="--", label=f"threshold {threshold:.3g}")
    axes.set(xscale="log", xlabel="share of rows with an alert")
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
