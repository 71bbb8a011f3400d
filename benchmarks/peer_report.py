"""Report of `benchmarks.peers`: metrics by table, mean ranks with intervals, and their picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from steps.plots.style import MARK, NEGATIVE, POSITIVE, drawing

Cell = dict[str, Any]

OURS = "ml-pipes"
SYSTEMS = (OURS, "autogluon_best_quality", "autogluon_medium_quality", "flaml")
# Whether more is better.
RANKED = {"roc_auc": True, "ks": True, "average_precision": True, "log_loss": False}
REPEATS = 10_000


def markdown(cells: Sequence[Cell]) -> str:
    """Return the mean ranks, the metrics of each table (means over seeds), and the failed cells."""
    ranks = mean_ranks(cells)
    lines = [f"| mean rank | {' | '.join(RANKED)} | cells |", "|--|" + "--|" * (len(RANKED) + 1)]
    for system in ranks.index.unique("system"):
        found = ranks.loc[system]
        values = " | ".join(_shown(*found.loc[name, ["mean", "low", "high"]]) for name in RANKED)
        lines.append(f"| {system} | {values} | {found['cells'].iloc[0]:.0f} |")
    names = [*RANKED, "seconds"]
    lines += ["", f"| table | system | seeds | {' | '.join(names)} |", "|--|--|--|" + "--|" * 5]
    finished = pd.DataFrame([cell for cell in cells if "error" not in cell])
    if not finished.empty:
        for (table, system), rows in finished.groupby(["table", "system"], sort=False):
            values = " | ".join(f"{rows[name].mean():.4f}" for name in RANKED)
            lines.append(
                f"| {table} | {system} | {len(rows)} | {values} | {rows['seconds'].mean():.0f} |"
            )
    failed = [cell for cell in cells if "error" in cell]
    if failed:
        lines += ["", "Failed:", ""]
        lines += [f"- {c['table']}, seed {c['seed']}, {c['system']}: {c['error']}" for c in failed]
    return "\n".join([*lines, ""])


def _shown(mean: float, low: float, high: float) -> str:
    """Return a mean rank with its interval, if there is one."""
    if np.isnan(mean):
        return ""
    return f"{mean:.2f}" if np.isnan(low) else f"{mean:.2f} ({low:.2f} to {high:.2f})"


def mean_ranks(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the mean rank of each system by each metric.

    Only tables and seeds for which every system has a cell count. A system that failed there ranks
    last; where ml-pipes failed, the peers were not run, and rank before it. The 95 % intervals are
    percentiles of a bootstrap of the tables, each with all its seeds, which share rows; NaN for one
    table.

    Returns:
        Columns `mean`, `low`, `high` and `cells` by system and metric.
    """
    rows = []
    names = [name for name in SYSTEMS if any(cell["system"] == name for cell in cells)]
    for metric, more_is_better in RANKED.items():
        ranks = _ranks(cells, names, metric, more_is_better)
        random = np.random.default_rng(0)
        for system in names:
            by_table = ranks[system].groupby(level="table")
            sums, counts = by_table.sum().to_numpy(), by_table.size().to_numpy()
            low = high = np.nan
            if len(counts) > 1:
                drawn = random.integers(0, len(counts), (REPEATS, len(counts)))
                means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
                low, high = np.percentile(means, [2.5, 97.5])
            rows.append((system, metric, ranks[system].mean(), low, high, len(ranks)))
    columns = ["system", "metric", "mean", "low", "high", "cells"]
    return pd.DataFrame(rows, columns=columns).set_index(["system", "metric"])


def _ranks(
    cells: Sequence[Cell], names: Sequence[str], metric: str, more_is_better: bool
) -> pd.DataFrame:
    """Return the ranks by one metric, a row for each table and seed, a column for each system."""
    worst = -np.inf if more_is_better else np.inf
    by_key: dict[tuple[str, int], dict[str, float]] = {}
    for cell in cells:
        value = worst if "error" in cell else cell[metric]
        by_key.setdefault((cell["table"], cell["seed"]), {})[cell["system"]] = value
    for values in by_key.values():
        if values.get(OURS) == worst:  # the peers, which need its run, are not to blame
            values |= dict.fromkeys(values.keys() - {OURS}, -worst)
    complete = {key: values for key, values in by_key.items() if set(values) == set(names)}
    index = pd.MultiIndex.from_tuples(complete, names=["table", "seed"]) if complete else None
    found = pd.DataFrame(list(complete.values()), index, columns=list(names))
    return found.rank(axis=1, ascending=not more_is_better)


@drawing()
def picture(cells: Sequence[Cell]) -> Figure:
    """Draw the mean ranks by ROC AUC and log loss with their intervals."""
    ranks = mean_ranks(cells).dropna(subset="mean")
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, metric in zip(axes, ("roc_auc", "log_loss"), strict=True):
        if not ranks.empty:
            found = ranks.xs(metric, level="metric").iloc[::-1]
            colors = [POSITIVE if name == OURS else NEGATIVE for name in found.index]
            for system, color in zip(found.index, colors, strict=True):
                axis.plot(found.loc[system, ["low", "high"]], [system] * 2, color=color, lw=2)
            axis.scatter(found["mean"], found.index, color=colors, zorder=3)
            axis.axvline((len(found) + 1) / 2, color=MARK, lw=0.8, ls=":")
        axis.set(xlabel=f"mean rank by {metric} (1 is best)", xlim=(0.9, len(SYSTEMS) + 0.1))
        axis.grid(alpha=0.25, axis="x")
    return figure
