"""The pictures of the data: classes per split, distributions, and drift between the splits."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from steps.pipeline.evaluation import Floats
from steps.pipeline.plots import MARK, NEGATIVE, POSITIVE, drawing
from steps.pipeline.progress import spent_on
from steps.pipeline.table import SplitTable

COLORS = {"training": MARK, "validation": NEGATIVE, "test": POSITIVE}
# More would not be legible: the ones that drifted most are shown.
MOST_SHOWN = 30


def profile(table: SplitTable, target: str) -> dict[str, Figure]:
    """Return the pictures of `table`, by file name."""
    with spent_on("data"):
        drifted = drift(table)
    return {
        "classes.png": _classes(table, target),
        "drift.png": _drift(drifted),
        "distributions.png": _distributions(table, drifted),
    }


def drift(table: SplitTable) -> pd.DataFrame:
    """Return how far each feature moved, the farthest first.

    Columns `validation` and `test`: the largest distance between the distribution functions
    of that split and of the training split (two-sample Kolmogorov-Smirnov), 0 to 1; missing
    values are left out, and a feature without any other value in a split did not move.
    """
    moved = {}
    for name in table.features:
        training = _sorted(table.training[name])
        moved[name] = [
            _distance(training, _sorted(part[name])) for part in (table.validation, table.test)
        ]
    found = pd.DataFrame.from_dict(moved, orient="index", columns=["validation", "test"])
    return found.loc[found.max(axis=1).sort_values(ascending=False).index]


def _sorted(values: "pd.Series[float]") -> Floats:
    return np.sort(values.dropna().to_numpy())


def _distance(a: Floats, b: Floats) -> float:
    """Return the largest distance between the distribution functions of two sorted samples."""
    if not (len(a) and len(b)):
        return 0.0
    # The functions only step at values of the samples; at those of the smaller one and just
    # below them is enough: between two of them only the other function grows.
    at = b if len(b) < len(a) else a
    sides = [
        np.searchsorted(a, at, side) / len(a) - np.searchsorted(b, at, side) / len(b)
        for side in ("left", "right")
    ]
    return float(np.abs(sides).max())


@drawing()
def _classes(table: SplitTable, target: str) -> Figure:
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, part in enumerate(reversed(table.parts.values())):
        positives = int(part[target].sum())
        negatives = len(part) - positives
        axes.barh(place, negatives, height=0.6, color=NEGATIVE)
        axes.barh(place, positives, height=0.25, color=POSITIVE)
        text = f"{positives:,} of {len(part):,} are 1 ({positives / len(part):.2%})"
        axes.annotate(
            text, (negatives, place), xytext=(6, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(table.parts)), list(reversed(table.parts)))
    axes.set(xscale="log", xlabel="rows (log scale): class 0 wide, class 1 narrow")
    axes.set_xlim(1, max(map(len, table.parts.values())) * 2000)
    axes.set_title(f"Rows of each class of {target}, {table.kind} split", fontsize=10)
    return figure


@drawing()
def _drift(drifted: pd.DataFrame) -> Figure:
    shown = drifted.head(MOST_SHOWN).iloc[::-1]
    figure = Figure(figsize=(7, 1.2 + 0.22 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for name in ("validation", "test"):
        axes.plot(shown[name], range(len(shown)), "o", color=COLORS[name], label=name, ms=6)
    axes.hlines(range(len(shown)), 0, shown.max(axis=1), color=MARK, lw=0.6, alpha=0.5)
    axes.set_yticks(range(len(shown)), shown.index, fontsize=8)
    axes.set_xlim(0, max(0.1, 1.1 * float(shown.to_numpy().max())))
    axes.set(xlabel="distance from the training rows (Kolmogorov-Smirnov, 0 to 1)")
    axes.set_title(_of("Drift between the splits", drifted), fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="lower right")
    return figure


@drawing()
def _distributions(table: SplitTable, drifted: pd.DataFrame) -> Figure:
    shown = list(drifted.index[:MOST_SHOWN])
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    height = 1.5 * rows + 1.1
    figure = Figure(figsize=(2.1 * columns + 0.6, height))
    figure.subplots_adjust(0.02, 0.7 / height, 0.98, 1 - 0.6 / height, wspace=0.08, hspace=0.55)
    for place, name in enumerate(shown, start=1):
        _distribution(figure.add_subplot(rows, columns, place), table, name)
    figure.legend(
        handles=[figure.axes[0].plot([], [], color=c, label=n)[0] for n, c in COLORS.items()],
        loc="lower center",
        ncols=3,
    )
    figure.suptitle(_of("Distributions in each split", drifted), fontsize=11)
    return figure


def _distribution(axes: Axes, table: SplitTable, name: str) -> None:
    """Draw the histogram of one feature in each split, without the outermost percent."""
    known = table.training[name].dropna()
    low, high = np.quantile(known, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, 41)
    for part_name, part in table.parts.items():
        values = part[name].dropna()
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts / max(len(values), 1), edges, color=COLORS[part_name], lw=1)
    missing = table.training[name].isna().mean()
    axes.set_title(f"{name} ({missing:.0%} missing)" if missing else name, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(labelsize=6)


def _of(what: str, drifted: pd.DataFrame) -> str:
    if len(drifted) <= MOST_SHOWN:
        return f"{what}, most drifted first"
    return f"{what}: the {MOST_SHOWN} most drifted of {len(drifted)} features"
