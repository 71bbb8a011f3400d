"""The importance of the features of one model."""

import pandas as pd
from matplotlib.figure import Figure

from steps.plots.style import MARK, NEGATIVE, drawing

# More would not be legible.
MAX_SHOWN, LONGEST_NAME = 30, 40


@drawing()
def importance_plot(importance: pd.DataFrame, title: str) -> Figure:
    """Return a bar for each feature.

    Args:
        importance: The features with the columns `column` and `roc_auc_loss`, the largest first.
        title: The model.
    """
    shown = importance.head(MAX_SHOWN).iloc[::-1]
    figure = Figure(figsize=(7, 1.2 + 0.22 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(shown)), shown["roc_auc_loss"], height=0.7, color=NEGATIVE)
    axes.axvline(0, color=MARK, lw=0.8)
    # A dollar would start a formula.
    axes.set_yticks(range(len(shown)), map(_short, shown["column"]), fontsize=8, parse_math=False)
    axes.set(xlabel="loss of ROC AUC with the values of other rows")
    cut = f", {len(shown)} of {len(importance)} features" if len(importance) > MAX_SHOWN else ""
    axes.set_title(f"{title}{cut}", fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
