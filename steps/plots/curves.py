"""ROC, precision-recall, KS and calibration curves of one model."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import ecdf
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from steps.evaluation.calibration import reliability
from steps.evaluation.metrics import Floats, Labels, ks, ks_threshold
from steps.plots.style import LOWEST_SCORE, MARK, NEGATIVE, PLAIN_NUMBERS, POSITIVE, drawing


@drawing()
def curves(y: Labels, scores: Floats, title: str) -> dict[str, Figure]:
    """Return the ROC, precision-recall, KS and calibration plots, by file name.

    Args:
        y: the labels, shape (n_rows,).
        scores: probabilities of class 1, shape (n_rows,).
        title: the title of each plot.
    """
    plots = {"roc": _roc, "pr": _pr, "ks": _ks, "calibration": _calibration}
    figures = {}
    for name, draw in plots.items():
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
    shown = np.clip(scores, LOWEST_SCORE, 1 - LOWEST_SCORE)
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
    threshold = ks_threshold(y, scores)
    ends = [float((scores[y == label] < threshold).mean()) for label in (0, 1)]
    mark = np.clip(threshold, LOWEST_SCORE, 1 - LOWEST_SCORE)
    axes.vlines(mark, min(ends), max(ends), color=MARK, ls="--")
    axes.set_xscale("logit")
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.minorticks_off()  # minor ticks take longer to render than everything else
    axes.set(xlabel="score", ylabel="cumulative share of rows")
    axes.legend(title=f"KS = {ks(y, scores):.3f} at score {threshold:.3g}", loc="best")


def _calibration(axes: Axes, y: Labels, scores: Floats) -> None:
    bins = reliability(y, scores)
    shown = bins.observed > 0  # a log axis has no 0
    predicted, observed, low, high = (
        np.clip(values[shown], LOWEST_SCORE, 1)
        for values in (bins.predicted, bins.observed, bins.low, bins.high)
    )
    axes.plot([LOWEST_SCORE, 1], [LOWEST_SCORE, 1], color=MARK, lw=0.8, ls=":", label="perfect")
    axes.errorbar(
        predicted,
        observed,
        yerr=np.maximum([observed - low, high - observed], 0),
        fmt="o-",
        color=POSITIVE,
        elinewidth=0.9,
        capsize=3,
        label="model, with 95 % intervals",
    )
    lowest = min(low.min(), predicted.min()) / 2
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.2), ylim=(lowest, 1.2))
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.yaxis.set_major_formatter(PLAIN_NUMBERS)
    axes.minorticks_off()
    axes.set(xlabel="mean score", ylabel="observed share of class 1")
    axes.legend(title=f"calibration error = {bins.calibration_error:.2g}", loc="best")
