"""An engine with fewer rows to fit on than there are."""

import logging

import numpy as np
import pytest

from steps.candidates.queries import native_scores
from steps.data.logged_splits import open_splits
from steps.engines import pycaret as pycaret_engine
from tests.support.workspaces import tracking_in

BUDGET = 3_000


@pytest.fixture
def small_budget(monkeypatch):
    """A budget below the training rows, and only two classifiers: one is weighted, one is not."""
    offered = pycaret_engine.classifiers
    kept = ("Logistic Regression", "Hist Gradient Boosting")
    monkeypatch.setitem(pycaret_engine.ROW_BUDGET, "quick", BUDGET)
    monkeypatch.setattr(
        pycaret_engine,
        "classifiers",
        lambda *given: {name: offered(*given)[name] for name in kept},
    )


def test_engine_fits_on_a_sample_with_scores_at_the_rate_of_all_rows(
    in_process_steps, data_run, small_budget, caplog
):
    client, options = in_process_steps.client, {"data_run_id": data_run, "profile": "quick"}
    with caplog.at_level(logging.INFO, "ml-pipes"):
        assert in_process_steps.run("train_pycaret", **options) == 0
    (step,) = client.search_runs(["0"], "tags.fitted_rows != ''")
    with tracking_in(in_process_steps.workspace), open_splits(data_run) as splits:
        training, validation = splits.training.y, splits.validation.y
        assert step.data.tags["fitted_rows"] == f"{BUDGET} of {len(training)}"
        assert (
            f"pycaret fits on a sample of 3,000 of {len(training):,} training rows, with "
            f"{training.sum()} of {training.sum()} positives" in caplog.text
        )
        candidates = client.search_runs(["0"], "tags.engine = 'pycaret'")
        assert len(candidates) == 2
        for run in candidates:
            assert run.data.tags["proven"] == "true", run.data.tags["export"]
            scores = native_scores(run.info.run_id)
            assert np.mean(scores) == pytest.approx(validation.mean(), rel=0.5)

    refit_of = candidates[0].info.run_id
    assert in_process_steps.run("train_pycaret", **options, refit_of=refit_of) == 0
    (refit,) = client.search_runs(["0"], f"tags.refit_of = '{refit_of}'")
    assert refit.data.tags["proven"] == "true"
    parent = client.get_run(refit.data.tags["mlflow.parentRunId"])
    both = len(training) + len(validation)
    assert parent.data.tags["fitted_rows"] == f"{BUDGET} of {both}"
