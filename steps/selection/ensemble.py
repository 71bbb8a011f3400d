"""The ensemble of the candidates of all engines, which is a candidate like any other."""

import logging

import numpy as np
import pandas as pd

from steps.candidates.ensembles import EnsembleMember, record_ensemble
from steps.data.logged_splits import LoggedSplits
from steps.evaluation.metrics import Floats
from steps.runtime.progress import timed
from steps.selection.greedy import cross_fitted_scores, select_weights

logger = logging.getLogger("ml-pipes")


def add_ensemble(board: pd.DataFrame, scores: dict[str, Floats], splits: LoggedSplits) -> bool:
    """Record an ensemble below the active run, and return whether there is one.

    Its members are eligible and can be refitted. There is none if fewer than two are, or if one
    alone is the best.

    Args:
        board: The leaderboard of the candidates.
        scores: Their scores of the validation rows before calibration, each of shape (n_rows,), by
            run id. The ensemble is calibrated as a whole.
        splits: Their splits.
    """
    possible = board[board["eligible"] & board["refittable"]]
    if len(possible) < 2:
        logger.info("no ensemble: it needs two candidates that are eligible and can be refitted")
        return False
    y = splits.validation.y
    of_possible = np.stack([scores[run_id] for run_id in possible["run_id"]])
    with timed("judging"):
        weights = select_weights(y, of_possible)
    members = [
        EnsembleMember(engine, algorithm, run_id, float(weight))
        for engine, algorithm, run_id, weight in zip(
            possible["engine"], possible["algorithm"], possible["run_id"], weights, strict=True
        )
        if weight
    ]
    if len(members) < 2:
        logger.info("no ensemble: no combination has a lower log loss than %s alone", members[0])
        return False
    with timed("judging"):
        cross_fitted = cross_fitted_scores(y, of_possible)
    record_ensemble(sorted(members, key=lambda member: -member.weight), cross_fitted, splits)
    return True
