"""A table with missing values, other column names and no time column."""

import numpy as np
import pandas as pd
import pytest

from steps.engines import pycaret as pycaret_engine
from tests.support.log_fixtures import logged_rows
from tests.support.servers import mlflow_server
from tests.support.tables import load
from tests.support.workspaces import Workspace

pytestmark = pytest.mark.slow

COLUMNS = ("income", "age", "visits", "ratio")


@pytest.fixture(scope="module")
def churn_file(tmp_path_factory):
    """2,500 customers; a fifth of the ratios and a tenth of the ages are unknown."""
    random = np.random.default_rng(11)
    rows = 2500
    frame = pd.DataFrame(
        {
            "income": random.lognormal(10, 1, rows),
            "age": random.integers(18, 90, rows).astype(float),
            "visits": random.poisson(3, rows),
            "ratio": random.normal(size=rows),
        }
    )
    odds = -2.5 + 1.5 * frame["ratio"] + 0.4 * frame["visits"]
    frame["left"] = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    frame.loc[random.random(rows) < 0.2, "ratio"] = np.nan
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    file = tmp_path_factory.mktemp("churn") / "customers.csv"
    frame.to_csv(file, index=False)
    return file


def test_pycaret_gets_unchanged_values(churn_file, tmp_path):
    splits = load(str(churn_file), tmp_path, "left", time_column="")
    experiment = pycaret_engine._experiment(splits.training, splits.validation.frame, 42)
    seen = experiment.get_config("X_train")
    assert (seen.dtypes == np.float64).all()
    given = splits.training.X
    np.testing.assert_array_equal(seen.to_numpy(), given.to_numpy())


@pytest.fixture(scope="module")
def churn_workspace(tmp_path_factory, churn_file):
    workspace = Workspace(tmp_path_factory.mktemp("elsewhere"))
    done = workspace.run(data=str(churn_file), target="left", profile="quick", model_name="churn")
    assert done.returncode == 0, done.stderr
    return workspace


def test_engines_train_with_missing_values(churn_workspace):
    candidates = churn_workspace.runs("tags.proven != ''")
    assert {run.data.tags["engine"] for run in candidates} >= {"h2o", "pycaret", "spark"}
    for run in candidates:
        assert run.data.tags["proven"] == "true", run.data.tags
    assert max(run.data.metrics.get("val_ks", 0) for run in candidates) > 0.4


def test_champion_accepts_missing_values_as_in_training(churn_workspace, churn_file):
    rows = pd.read_csv(churn_file).head(4)[list(COLUMNS)].astype(float)
    database = churn_workspace.folder / "predictions.db"
    with mlflow_server(churn_workspace, "churn") as server:
        server.predict(rows.assign(ratio=[None, 0.1, None, 0.2]))
        refused = server.post({"dataframe_split": rows.assign(visits=None).to_dict("split")})
    assert refused.status_code == 400
    assert "visits" in refused.json()["message"]
    assert len(logged_rows(database)) == 4
