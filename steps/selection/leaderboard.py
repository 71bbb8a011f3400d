"""The leaderboard: all candidates of all engines, compared on the validation split."""

from dataclasses import dataclass
from math import nan
from typing import Any

import mlflow
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Run

from steps.candidates.queries import (
    EXPORT,
    SECONDS_PER_ROW,
    candidates_of,
    export_is_verified,
    read_scores,
    validation_scores,
)
from steps.data.logged_splits import LoggedSplits
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import Floats, Labels
from steps.evaluation.paired import paired_difference
from steps.plots.leaderboard import ks_curves, leaderboard_plot
from steps.plots.style import log_pictures
from steps.runtime.active_run import active_run
from steps.runtime.errors import EngineError, ParameterError
from steps.runtime.progress import timed
from steps.selection.ensemble import add_ensemble

# The metrics of a candidate's run that the leaderboard shows, each with the bounds of its interval.
VALIDATION_METRICS = (
    "val_ks", "val_roc_auc", "val_average_precision", "val_log_loss", "val_brier"
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A candidate of the leaderboard.

    Attributes:
        engine: The engine that trained it.
        algorithm: The engine's name for its algorithm.
        run_id: The candidate's run.
        refittable: Whether its engine can fit its configuration on other rows.
    """

    engine: str
    algorithm: str
    run_id: str
    refittable: bool

    def __str__(self) -> str:
        return f"{self.engine} {self.algorithm}"


def rank_candidates(
    training_run_ids: list[str], metric: str, splits: LoggedSplits
) -> tuple[pd.DataFrame, dict[str, bytes]]:
    """Make an ensemble of the candidates, and log the leaderboard and its pictures.

    Returns:
        The leaderboard, best candidate first, and the pictures as PNG by file name.

    Raises:
        ParameterError: A candidate comes from other splits.
        EngineError: There is no candidate, or none is eligible.
    """
    digests = splits.description.digests
    board = build_leaderboard(training_run_ids, digests, metric)
    logged = {run_id: read_scores(run_id) for run_id in board["run_id"]}
    scores = {run_id: each.served for run_id, each in logged.items()}
    if add_ensemble(board, {run_id: each.native for run_id, each in logged.items()}, splits):
        own_run_id = active_run().info.run_id
        board = build_leaderboard([*training_run_ids, own_run_id], digests, metric)
        new = set(board["run_id"]) - scores.keys()
        scores |= {run_id: validation_scores(run_id) for run_id in new}
    with timed("judging"):
        board = compare_with_leader(board, metric, splits.validation.y, scores)
    mlflow.log_table(board, "leaderboard.json")
    pictures = log_pictures(_figures(board, metric, splits.validation.y, scores), "plots")
    return board, pictures


def build_leaderboard(
    training_run_ids: list[str], digests: dict[str, str], metric: str
) -> pd.DataFrame:
    """Return a row for each candidate, ordered by `metric` on the validation split.

    Columns: `engine`, `algorithm`, the validation metrics and the bounds of their intervals,
    `eligible` (whether the export is verified, so that the candidate can become champion),
    `refittable`, `export` (the result of the export check in words), `seconds_per_row` (the cost
    of scoring; missing in candidates of earlier releases), `run_id`, `training_run_id`.

    Args:
        training_run_ids: The runs of the training steps.
        digests: The digest of each split by its name.
        metric: The champion metric.

    Raises:
        ParameterError: A candidate was trained or validated on splits with other digests.
        EngineError: There is no candidate.
    """
    rows = [
        _row(run, training_run_id, digests)
        for training_run_id in training_run_ids
        for run in candidates_of(training_run_id)
    ]
    if not rows:
        raise EngineError("the training steps left no candidate; see their error messages")
    board = pd.DataFrame(rows)
    # Rank metrics are often equal with few positives: log loss breaks ties.
    board = board.sort_values([f"val_{metric}", "val_log_loss"], ascending=[False, True])
    return board.reset_index(drop=True)


def read_leaderboard(selection_run_id: str) -> pd.DataFrame:
    """Return the leaderboard that a selection, of any experiment, has logged."""
    content = mlflow.artifacts.load_dict(f"runs:/{selection_run_id}/leaderboard.json")
    return pd.DataFrame(content["data"], columns=content["columns"])


def best_candidate(board: pd.DataFrame) -> Candidate:
    """Return the first eligible candidate of `board`.

    Raises:
        EngineError: There is none.
    """
    eligible = board[board["eligible"]]
    if eligible.empty:
        raise EngineError(
            "no candidate is eligible: no export is verified; see the column export of "
            "leaderboard.json for the reasons"
        )
    best = eligible.iloc[0]
    return Candidate(best["engine"], best["algorithm"], best["run_id"], bool(best["refittable"]))


def compare_with_leader(
    board: pd.DataFrame, metric: str, y: Labels, scores: dict[str, Floats]
) -> pd.DataFrame:
    """Return `board` with each candidate's paired difference from the leader.

    The leader is the best eligible candidate. New columns: `difference` of `metric`,
    `difference_low` and `difference_high` (95 % interval), and `standing`: "leader", "tie" (the
    interval contains 0), "behind", or "ahead" for a candidate that is not eligible.

    Args:
        board: The result of `build_leaderboard`.
        metric: The champion metric.
        y: The labels of the validation rows, shape (n_rows,).
        scores: Each candidate's scores of these rows by run id, shape (n_rows,).
    """
    leader_id = best_candidate(board).run_id
    leader = Estimate(y, scores[leader_id])
    rows = []
    for run_id in board["run_id"]:
        found = paired_difference(Estimate(y, scores[run_id]), leader, metric)
        value, interval = found.value, found.interval
        standing = "tie" if 0 in interval else "behind" if value < 0 else "ahead"
        rows.append((value, interval.low, interval.high, standing))
    names = ["difference", "difference_low", "difference_high", "standing"]
    compared = pd.concat([board, pd.DataFrame(rows, columns=names)], axis=1)
    compared.loc[compared["run_id"] == leader_id, "standing"] = "leader"
    return compared


def _row(run: Run, training_run_id: str, digests: dict[str, str]) -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    if any(digests[name] != digest for name, digest in _input_digests(run).items()):
        raise ParameterError(
            f"training_run_ids: {training_run_id} read other splits, those of run "
            f"{tags['data_run_id']}: pass that run as data_run_id, or train again"
        )
    return {
        "engine": tags["engine"],
        "algorithm": tags["algorithm"],
        **{
            f"{name}{bound}": metrics[f"{name}{bound}"]
            for name in VALIDATION_METRICS
            for bound in ("", "_low", "_high")
        },
        "eligible": export_is_verified(run),
        "refittable": tags["refittable"] == "true",
        "export": tags[EXPORT],
        SECONDS_PER_ROW: metrics.get(SECONDS_PER_ROW, nan),
        "run_id": run.info.run_id,
        "training_run_id": training_run_id,
    }


def _input_digests(run: Run) -> dict[str, str]:
    """Return the digests of the splits that a run read, by split name."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {split.dataset.name: split.dataset.digest for split in inputs}


def _figures(
    board: pd.DataFrame, metric: str, y: Labels, scores: dict[str, Floats]
) -> dict[str, Figure]:
    """Return the pictures of all candidates together, by file name."""
    candidates = [
        (engine, algorithm, scores[run_id])
        for engine, algorithm, run_id in zip(
            board["engine"], board["algorithm"], board["run_id"], strict=True
        )
    ]
    return {
        "leaderboard.png": leaderboard_plot(board, metric),
        "ks_curves.png": ks_curves(y, candidates),
    }
