"""A table that is not the credit card data: missing values, other names, no time column."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steps import train_pycaret
from steps.pipeline.sources import read_source
from steps.pipeline.splits import Part
from steps.pipeline.table import split_table
from tests.conftest import Workspace, logged, serving

pytestmark = pytest.mark.slow

COLUMNS = ("income", "age", "visits", "ratio")


@pytest.fixture(scope="module")
def churn(tmp_path_factory):
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


def test_pycaret_is_given_the_values_as_they_are(churn, tmp_path):
    table = split_table(read_source(str(churn)), "churn", "left", "", "auto", 42)
    parts = {
        name: Part(name, tmp_path, frame, table.features, "left")
        for name, frame in table.parts.items()
    }
    splits = SimpleNamespace(target="left", names=table.features, **parts)
    seen = train_pycaret._experiment(splits, 42).get_config("X_train")
    assert (seen.dtypes == np.float64).all()
    given = table.training[table.features]
    np.testing.assert_array_equal(seen.to_numpy(), given.to_numpy())


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, churn):
    workspace = Workspace(tmp_path_factory.mktemp("elsewhere"))
    done = workspace.run(data=str(churn), target="left", profile="quick", model_name="churn")
    assert done.returncode == 0, done.stderr
    return workspace


def test_every_engine_copes_with_missing_values(elsewhere):
    candidates = elsewhere.runs("tags.proven != ''")
    assert {run.data.tags["engine"] for run in candidates} == {"h2o", "pycaret", "spark"}
    for run in candidates:
        assert run.data.tags["proven"] == "true", run.data.tags
    assert max(run.data.metrics.get("val_ks", 0) for run in candidates) > 0.4


def test_its_champion_takes_missing_values_only_where_training_had_some(elsewhere, churn):
    rows = pd.read_csv(churn).head(4)[list(COLUMNS)].astype(float)
    database = elsewhere.folder / "predictions.db"
    with serving(elsewhere, "churn") as server:
        server.predict(rows.assign(ratio=[None, 0.1, None, 0.2]))
        refused = server.post({"dataframe_split": rows.assign(visits=None).to_dict("split")})
    assert refused.status_code == 400
    assert "visits" in refused.json()["message"]
    assert len(logged(database)) == 4
