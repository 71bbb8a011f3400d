"""Columns with odd names and of every kind, in each engine and through its export."""

import numpy as np
import pandas as pd
import pytest

from serving.model.scorer import PortableScorer
from steps.candidates.queries import download_scorer, native_scores
from steps.data.logged_splits import open_splits
from tests.support.odd_names import ODD_NAMES
from tests.support.workspaces import tracking_in

TARGET = "prediction (left?)"


@pytest.fixture(scope="module")
def odd_data(in_process_steps, tmp_path_factory):
    """The run of `load_data` on a table of 500 rows."""
    random = np.random.default_rng(5)
    values = random.normal(size=(500, len(ODD_NAMES)))
    table = pd.DataFrame(values, columns=list(ODD_NAMES))
    table[TARGET] = np.where(values[:, :12].sum(axis=1) + random.normal(size=500) > 0, "y", "n")
    table["v1"] = np.where(table["v1"] > 0, "a", "b")
    table["label"] = np.where(table["label"] > 0, "yes", "no")
    table["score"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(table["score"].rank(), "D")
    table.loc[::9, ["a.b", "v1", "label", "score"]] = None
    file = tmp_path_factory.mktemp("odd") / "table.csv"
    table.to_csv(file, index=False)
    assert in_process_steps.run("load_data", data=str(file), target=TARGET, time_column="") == 0
    return in_process_steps.client.search_runs(["0"])[0].info.run_id


@pytest.mark.parametrize("engine", ["h2o", "pycaret", "spark"])
def test_engine_learns_from_odd_columns(in_process_steps, odd_data, engine):
    options = {"data_run_id": odd_data, "profile": "quick"}
    assert in_process_steps.run(f"train_{engine}", **options) == 0
    candidates = in_process_steps.client.search_runs(
        ["0"], f"tags.engine = '{engine}' and metrics.val_roc_auc > 0.6"
    )
    assert candidates
    with tracking_in(in_process_steps.workspace), open_splits(odd_data) as splits:
        assert set(ODD_NAMES) == set(splits.names)
        for run in candidates:
            assert run.data.tags["proven"] == "true", run.data.tags["export"]
            with download_scorer(run.info.run_id) as scorer:
                scores = PortableScorer.load(scorer).uncalibrated.score(splits.validation.frame)
            native = native_scores(run.info.run_id)
            np.testing.assert_allclose(scores, native, rtol=1e-6, atol=1e-9)
