"""Pictures of all candidates together: the leaderboard and their KS curves."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steps.evaluation.metrics import Floats, Labels
from steps.plots.style import MARK, PLAIN_NUMBERS, drawing, engine_palette

PALE = 0.4
LINE_STYLES = ("-", "--", "-.", ":")
MAX_POINTS = 800


@drawing()
def leaderboard_plot(board: pd.DataFrame, metric: str) -> Figure:
    """Return `metric` of each candidate with its 95 % interval, the best on top.

    Candidates behind the leader are pale. Hollow ones are not eligible, so they may be ahead of
    it.

    Args:
        board: a row for each candidate, as `steps.selection.leaderboard` returns it.
        metric: the champion metric.
    """
    figure = Figure(figsize=(8, 1.4 + 0.34 * len(board)), layout="constrained")
    axes = figure.subplots()
    palette = engine_palette(board["engine"])
    upwards = board.iloc[::-1]
    for place, candidate in enumerate(upwards.to_dict("records")):
        _draw_candidate(axes, place, candidate, metric, palette[candidate["engine"]])
    leader = board.loc[board["standing"] == "leader", f"val_{metric}"].iloc[0]
    axes.axvline(leader, color=MARK, lw=0.8, ls=":")
    names = upwards["engine"] + "  " + upwards["algorithm"]
    axes.set_yticks(range(len(board)), names, fontsize=9)
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.25)
    tied = int((board["standing"] == "tie").sum())
    axes.set_title(
        f"tied with the leader: {tied} of {len(board) - 1}; pale: behind it", fontsize=10
    )
    axes.set_xlabel(f"validation {metric}, 95 % interval (hollow: export not verified)")
    return figure


def _draw_candidate(
    axes: Axes, place: int, candidate: Mapping[Any, Any], metric: str, color: str
) -> None:
    value = candidate[f"val_{metric}"]
    low, high = candidate[f"val_{metric}_low"], candidate[f"val_{metric}_high"]
    alpha = PALE if candidate["standing"] == "behind" else 1.0
    face = color if candidate["eligible"] else "white"
    axes.hlines(place, low, high, color=color, lw=2, alpha=alpha)
    axes.plot(value, place, "o", color=color, mfc=face, ms=8, alpha=alpha)
    axes.annotate(
        f"{value:.3f}",
        (high, place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


@drawing()
def ks_curves(y: Labels, candidates: list[tuple[str, str, Floats]]) -> Figure:
    """Return the distance of the two classes' rates as a function of the share labelled 1.

    The maximum of a curve is the KS of its candidate.

    Args:
        y: the labels of the validation rows, shape (n_rows,).
        candidates: engine, algorithm and scores, shape (n_rows,), of each.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    palette = engine_palette(engine for engine, _, _ in candidates)
    styles = {engine: cycle(LINE_STYLES) for engine in palette}
    for engine, algorithm, scores in candidates:
        labelled, distance = _ks_curve(y, scores)
        shown = _log_spaced(labelled)
        axes.plot(
            labelled[shown],
            distance[shown],
            next(styles[engine]),
            color=palette[engine],
            lw=1.3,
            label=f"{distance.max():.3f}  {engine} {algorithm}",
        )
    axes.set(
        xscale="log",
        xlabel="share of rows labelled 1",
        ylabel="true positive rate - false positive rate",
    )
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.set_title("All candidates on the validation split; a curve's maximum is its KS", size=10)
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper", title="KS")
    return figure


def _ks_curve(y: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """Return the share labelled 1 and the distance of the rates at each distinct score."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.r_[scores[order][1:] != scores[order][:-1], True]
    true = np.cumsum(y[order] == 1)[last_of_ties] / (y == 1).sum()
    false = np.cumsum(y[order] == 0)[last_of_ties] / (y == 0).sum()
    return (np.flatnonzero(last_of_ties) + 1) / len(y), true - false


def _log_spaced(positions: Floats) -> npt.NDArray[np.intp]:
    """Return indices of at most 800 of the ascending `positions`, evenly spaced on a log axis."""
    wanted = np.geomspace(positions[0], positions[-1], MAX_POINTS)
    return np.unique(np.searchsorted(positions, wanted).clip(max=len(positions) - 1))
