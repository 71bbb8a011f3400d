"""The end of the workflow."""

import mlflow
import pandas as pd
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from steps.main import report
from steps.selection.leaderboard import VALIDATION_METRICS
from steps.selection.report import TEST_METRICS

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("empty_registry")]

TAGS = {
    "engine": "h2o",
    "algorithm": "GBM_1",
    "promoted": "false",
    "decision": "it is no better",
    "champion_version": "",
    "threshold": "0.5",
    "threshold_rule": "ks",
}


def log_selection() -> str:
    """Log what the report of a workflow reads; return the run's id."""
    ends = ("", "_low", "_high")
    row = {f"{name}{end}": 0.5 for name in VALIDATION_METRICS for end in ends}
    row |= {"engine": "h2o", "algorithm": "GBM_1", "standing": "leader", "eligible": True}
    row |= {"export": "verified", "seconds_per_row": 1e-6}
    at_threshold = (f"test_{name}_at_threshold" for name in ("recall", "precision", "alert_rate"))
    with mlflow.start_run(nested=True) as run:
        board = pd.DataFrame([row])
        mlflow.log_dict(board.to_dict(orient="split"), "leaderboard.json")
        mlflow.log_text("", "plots/leaderboard.png")
        mlflow.set_tags(TAGS)
        names = (*TEST_METRICS, *at_threshold)
        mlflow.log_metrics({f"{name}{end}": 0.5 for name in names for end in ends})
    run_id: str = run.info.run_id
    return run_id


def test_a_note_that_somebody_wrote_during_the_run_is_kept():
    with mlflow.start_run() as run:
        mlflow.set_tag(MLFLOW_RUN_NOTE, "mine")
        selection = mlflow.get_run(log_selection())
        report([selection, selection], "ks", "fraud")
    note = mlflow.get_run(run.info.run_id).data.tags[MLFLOW_RUN_NOTE]
    assert note.startswith("mine\n\n**fraud has no champion**: it is no better.")
