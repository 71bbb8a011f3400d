"""All candidates of all engines in one table, best first."""

from typing import Any

import pandas as pd

from steps.pipeline.candidates import candidates_of
from steps.pipeline.errors import EngineError, ParameterError

METRICS = ("val_ks", "val_roc_auc", "val_average_precision", "val_log_loss", "val_brier")


def leaderboard(training_run_ids: list[str], data_run_id: str, metric: str) -> pd.DataFrame:
    """Return a row for each candidate, ordered by `metric` on the validation split.

    Columns: engine, algorithm, the validation metrics, `eligible` (its export is proven
    equal), `refittable`, `export` (the verdict in words), `run_id`, `training_run_id`.

    Raises:
        ParameterError: a candidate was fitted on other splits than those of `data_run_id`.
        EngineError: the training runs left no candidate.
    """
    rows: list[dict[str, Any]] = []
    for training_run_id in training_run_ids:
        for run in candidates_of(training_run_id):
            tags = run.data.tags
            if tags["data_run_id"] != data_run_id:
                raise ParameterError(
                    f"training_run_ids: {training_run_id} read the splits of run "
                    f"{tags['data_run_id']}, not of {data_run_id}: its test rows are others"
                )
            rows.append(
                {
                    "engine": tags["engine"],
                    "algorithm": tags["algorithm"],
                    **{name: run.data.metrics[name] for name in METRICS},
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


def as_text(board: pd.DataFrame) -> str:
    """Return `board` for a terminal."""
    shown = board[["engine", "algorithm", *METRICS]].rename(
        columns=lambda name: name.removeprefix("val_")
    )
    shown.insert(0, "rank", [str(i + 1) for i in range(len(board))])
    shown["export"] = board["export"]
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4f}")
