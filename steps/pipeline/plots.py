"""The pictures of a model and of a comparison. Each function returns a figure to log."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import cycle
from pathlib import Path

import matplotlib
import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import ecdf
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from steps.pipeline.evaluation import Floats, Labels, ks, ks_threshold
from steps.pipeline.progress import spent_on

NEGATIVE, POSITIVE, MARK = "#4c78a8", "#d1495b", "#333333"
# Scores are shown on log and log-odds axes, which squeeze no end; neither has a 0.
LOWEST = 1e-7
# As a power of ten each label would take longer than the curves.
PLAIN_NUMBERS = "{x:.7g}"


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with matplotlib's defaults: an engine's import may have changed fonts and colours.

    The seconds count as `drawing`.
    """
    with spent_on("drawing"), matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def log_pictures(figures: dict[str, Figure], folder: str) -> dict[str, bytes]:
    """Log `figures`, by file name, to the active run; return them as they were drawn."""
    pictures = {name: as_png(figure) for name, figure in figures.items()}
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        for name, picture in pictures.items():
            (Path(temporary) / name).write_bytes(picture)
        mlflow.log_artifacts(temporary, folder)
    return pictures


@drawing()
def curves(y: Labels, scores: Floats, title: str) -> dict[str, Figure]:
    """Return the ROC, PR, KS and calibration plots of `scores`, by file name."""
    drawings = {"roc": _roc, "pr": _pr, "ks": _ks, "calibration": _calibration}
    figures = {}
    for name, draw in drawings.items():
        figure = Figure(figsize=(6.4, 4.8))
        axes = figure.add_axes((0.13, 0.12, 0.83, 0.8))
        draw(axes, y, scores)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.25)
        figures[f"{name}.png"] = figure
    return figures


def _roc(axes: Axes, y: Labels, scores: Floats) -> None:
    RocCurveDisplay.from_predictions(y, scores, ax=axes, name="model", color=POSITIVE)
    axes.plot([0, 1], [0, 1], color=MARK, lw=0.8, ls=":", label="chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right")


def _pr(axes: Axes, y: Labels, scores: Floats) -> None:
    PrecisionRecallDisplay.from_predictions(y, scores, ax=axes, name="model", color=POSITIVE)
    axes.axhline(y.mean(), color=MARK, lw=0.8, ls=":", label=f"chance ({y.mean():.2%} positive)")
    axes.set(xlabel="recall", ylabel="precision")
    axes.legend(loc="lower left")


def _ks(axes: Axes, y: Labels, scores: Floats) -> None:
    shown = np.clip(scores, LOWEST, 1 - LOWEST)
    for label, color in ((0, NEGATIVE), (1, POSITIVE)):
        distribution = ecdf(shown[y == label]).cdf
        kept = np.unique(np.linspace(0, len(distribution.quantiles) - 1, 1000).astype(int))
        axes.step(
            distribution.quantiles[kept],
            distribution.probabilities[kept],
            where="post",
            color=color,
            label=f"class {label}",
        )
    at = ks_threshold(y, scores)
    below = [float((scores[y == label] < at).mean()) for label in (0, 1)]
    axes.vlines(np.clip(at, LOWEST, 1 - LOWEST), min(below), max(below), color=MARK, ls="--")
    axes.set_xscale("logit")
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.minorticks_off()  # they take longer than all the rest, and so below
    axes.set(xlabel="score", ylabel="share of rows below")
    axes.legend(title=f"KS = {ks(y, scores):.3f} at score {at:.3g}", loc="best")


def _calibration(axes: Axes, y: Labels, scores: Floats) -> None:
    # Bins of equal size would hold no positives where they are rare: bins of equal positives.
    observed, predicted = np.clip(_calibration_points(y, scores), LOWEST, 1)
    axes.plot([LOWEST, 1], [LOWEST, 1], color=MARK, lw=0.8, ls=":", label="perfect")
    axes.plot(predicted, observed, "o-", color=POSITIVE, label="model")
    lowest = min(observed.min(), predicted.min()) / 2
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.2), ylim=(lowest, 1.2))
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.yaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.minorticks_off()
    axes.set(xlabel="mean score", ylabel="share of class 1")
    axes.legend(loc="best")


def _calibration_points(y: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """Return observed share and mean score of groups that hold an equal number of positives."""
    groups = min(10, int(y.sum()))
    edges = np.quantile(scores[y == 1], np.linspace(0, 1, groups + 1)[1:-1])
    group = np.searchsorted(edges, scores, side="right")
    points = pd.DataFrame({"group": group, "y": y, "score": scores}).groupby("group").mean()
    points = points[(points["y"] > 0) & (points["score"] > 0)]
    return points["y"].to_numpy(), points["score"].to_numpy()


@drawing()
def leaderboard_plot(board: pd.DataFrame, metric: str) -> Figure:
    """Return the candidates of `board`, best on top, with their 95 % intervals of `metric`.

    Those that are tied with the leader are filled, those behind it pale; hollow is what may
    not become champion, which may be ahead. See `steps.pipeline.leaderboard` for the columns.
    """
    figure = Figure(figsize=(8, 1.4 + 0.34 * len(board)), layout="constrained")
    axes = figure.subplots()
    palette = _palette(board["engine"])
    for place, row in enumerate(board.iloc[::-1].to_dict("records")):
        value, color = row[f"val_{metric}"], palette[row["engine"]]
        pale = 0.4 if row["standing"] == "behind" else 1.0
        ends = (row[f"val_{metric}_low"], row[f"val_{metric}_high"])
        axes.hlines(place, *ends, color=color, lw=2, alpha=pale)
        face = color if row["eligible"] else "white"
        axes.plot(value, place, "o", color=color, mfc=face, ms=8, alpha=pale)
        axes.annotate(
            f"{value:.3f}",
            (ends[1], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    leader = board.loc[board["standing"] == "leader", f"val_{metric}"].iloc[0]
    axes.axvline(leader, color=MARK, lw=0.8, ls=":")
    names = (board["engine"] + "  " + board["algorithm"]).iloc[::-1]
    axes.set_yticks(range(len(board)), names, fontsize=9)
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.25)
    tied = int((board["standing"] == "tie").sum())
    axes.set_title(
        f"{tied} of {len(board) - 1} are tied with the leader; pale: behind", fontsize=10
    )
    axes.set_xlabel(f"{metric} on validation, 95 % interval (hollow: export not equal)")
    return figure


@drawing()
def ks_curves(y: Labels, scores: list[tuple[str, str, Floats]]) -> Figure:
    """Return how far the rates of the two classes are apart for each engine, algorithm, scores.

    The share of rows labelled 1 runs along the axis; each curve's top is its model's KS.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    palette, styles = _palette(engine for engine, _, _ in scores), ("-", "--", "-.", ":")
    drawn = dict.fromkeys(palette, 0)
    for engine, algorithm, of_model in scores:
        style = styles[drawn[engine] % len(styles)]
        drawn[engine] += 1
        order = np.argsort(-of_model, kind="stable")
        new = np.r_[of_model[order][1:] != of_model[order][:-1], True]  # ties come together
        true = np.cumsum(y[order] == 1)[new] / (y == 1).sum()
        false = np.cumsum(y[order] == 0)[new] / (y == 0).sum()
        labelled = (np.flatnonzero(new) + 1) / len(y)
        shown = _few(labelled)
        label = f"{np.max(true - false):.3f}  {engine} {algorithm}"
        axes.plot(
            labelled[shown],
            (true - false)[shown],
            style,
            color=palette[engine],
            lw=1.3,
            label=label,
        )
    axes.set(xscale="log", xlabel="share of rows labelled 1", ylabel="true - false positive rate")
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.set_title("Every candidate on the validation split; the top of a curve is its KS", size=10)
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right upper", title="KS")
    return figure


def _palette(engines: Iterable[str]) -> dict[str, str]:
    """Return a colour for each engine, the same in every picture."""
    colors = cycle(("#4c78a8", "#f2a541", "#59a14f", "#b07aa1"))
    return dict(zip(sorted(set(engines)), colors, strict=False))


def _few(places: Floats) -> npt.NDArray[np.intp]:
    """Return the indices of at most some 800 of the sorted `places`, even on a log axis."""
    wanted = np.geomspace(places[0], places[-1], 800)
    return np.unique(np.searchsorted(places, wanted).clip(max=len(places) - 1))


@drawing()
def as_png(figure: Figure) -> bytes:
    """Return `figure` as a PNG file. Fonts are looked up only here."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
