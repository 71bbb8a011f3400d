"""All candidates of all engines in one table, best first."""

from typing import Any

import pandas as pd
from mlflow.entities import Run

from steps.pipeline.candidates import candidates_of
from steps.pipeline.errors import EngineError, ParameterError
from steps.pipeline.evaluation import Floats, Labels
from steps.pipeline.intervals import Estimate, difference
from steps.pipeline.outcome import METRICS


def leaderboard(training_run_ids: list[str], digests: dict[str, str], metric: str) -> pd.DataFrame:
    """Return a row for each candidate, ordered by `metric` on the validation split.

    Columns: engine, algorithm, the validation metrics and the ends of their intervals,
    `eligible` (its export is proven equal), `refittable`, `export` (the verdict in words),
    `run_id`, `training_run_id`.

    Raises:
        ParameterError: a candidate was fitted or compared on other splits than those with
            `digests`.
        EngineError: the training runs left no candidate.
    """
    rows: list[dict[str, Any]] = []
    for training_run_id in training_run_ids:
        for run in candidates_of(training_run_id):
            tags = run.data.tags
            if any(digests[name] != digest for name, digest in _inputs(run).items()):
                raise ParameterError(
                    f"training_run_ids: {training_run_id} read other splits, those of run "
                    f"{tags['data_run_id']}: pass that as data_run_id, or train again"
                )
            rows.append(
                {
                    "engine": tags["engine"],
                    "algorithm": tags["algorithm"],
                    **{
                        f"{name}{end}": run.data.metrics[f"{name}{end}"]
                        for name in METRICS
                        for end in ("", "_low", "_high")
                    },
                    "eligible": tags["proven"] == "true",
                    "refittable": tags["refittable"] == "true",
                    "export": tags["export"],
                    "run_id": run.info.run_id,
                    "training_run_id": training_run_id,
                }
            )
    if not rows:
        raise EngineError("the training steps left no candidate; see their messages")
    board = pd.DataFrame(rows)
    # Log loss breaks ties: metrics of ranks are often equal with few positives.
    board = board.sort_values([f"val_{metric}", "val_log_loss"], ascending=[False, True])
    return board.reset_index(drop=True)


def best(board: pd.DataFrame) -> "pd.Series[Any]":
    """Return the first candidate that may become champion.

    Raises:
        EngineError: no candidate's export is equal to its model.
    """
    eligible = board[board["eligible"]]
    if eligible.empty:
        raise EngineError(
            "no candidate's export is equal to its model; the column export of leaderboard.json "
            "says why"
        )
    return eligible.iloc[0]


def _inputs(run: Run) -> dict[str, str]:
    """Return the digests of the splits that a run read, by their names."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return {one.dataset.name: one.dataset.digest for one in inputs}


def compare_with_leader(
    board: pd.DataFrame, metric: str, y: Labels, scores: dict[str, Floats]
) -> pd.DataFrame:
    """Return `board` with how far each candidate is from the leader, on the same rows.

    New columns: `difference` of `metric`, `difference_low` and `difference_high` (95 % interval),
    and `standing`: "leader", "tie" (the interval contains 0), "behind", or "ahead" of a candidate
    that may not become champion.

    Args:
        board: as `leaderboard` gives it.
        metric: the champion metric.
        y: the labels of the validation rows, shape (n_rows,).
        scores: each candidate's scores of these rows, by run id.
    """
    leader_id = best(board)["run_id"]
    leader = Estimate(y, scores[leader_id])
    rows = []
    for run_id in board["run_id"]:
        value, interval = difference(Estimate(y, scores[run_id]), leader, metric)
        standing = "tie" if 0 in interval else "behind" if value < 0 else "ahead"
        rows.append((value, interval.low, interval.high, standing))
    names = ["difference", "difference_low", "difference_high", "standing"]
    compared = pd.concat([board, pd.DataFrame(rows, columns=names)], axis=1)
    compared.loc[compared["run_id"] == leader_id, "standing"] = "leader"
    return compared
