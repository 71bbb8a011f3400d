"""A champion with features of every kind behind MLflow's own doors."""

import json
import re

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.models import get_model_info
from mlflow.types import DataType

from steps.data.fingerprints import RowFingerprints
from steps.data.reference import Reference
from steps.registry.champion_model import log_champion_model
from tests.support.log_fixtures import logged_rows
from tests.support.mixed_model import EXAMPLE, EXAMPLE_SCORES, ID_COLUMN, write_mixed_scorer
from tests.support.project import PROJECT
from tests.support.servers import mlflow_server
from tests.support.workspaces import Workspace, tracking_in

DOCUMENTATION = PROJECT / "docs" / "serve.md"
NAME = "mixed"
NO_ROWS = RowFingerprints(np.empty(0, np.uint64), 0, "")
CSV_LINES = (
    "zip,since,member,active,paid,Charges ($),id,customerID\n"
    "007,31.05.2022,yes,true,,12.5,1,a\n"
    "1,,,false,TRUE,,,b\n"
)


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A workspace with the mixed model as champion."""
    workspace = Workspace(tmp_path_factory.mktemp("mixed"))
    scorer = workspace.folder / "scorer"
    write_mixed_scorer(scorer)
    reference = Reference(pd.DataFrame({"id": [1.0]}), np.array([0.5]))
    with tracking_in(workspace):
        experiment = mlflow.create_experiment(NAME, str(workspace.folder / "artifacts"))
        with mlflow.start_run(experiment_id=experiment):
            uri = log_champion_model(scorer, NO_ROWS, reference)
        version = mlflow.register_model(uri, NAME)
        MlflowClient().set_registered_model_alias(NAME, "champion", version.version)
    return workspace


@pytest.fixture
def champion(registered):
    """The champion as a notebook loads it."""
    with tracking_in(registered):
        yield mlflow.pyfunc.load_model(f"models:/{NAME}@champion")


def test_logged_champion_has_signature(registered):
    with tracking_in(registered):
        inputs = get_model_info(f"models:/{NAME}@champion").signature.inputs
    assert {column.name: column.type for column in inputs} == {
        "zip": DataType.string,
        "since": DataType.string,
        "member": DataType.string,
        "active": DataType.boolean,
        "paid": DataType.string,
        "Charges ($)": DataType.string,
        "id": DataType.double,
        ID_COLUMN: DataType.string,
    }
    assert inputs.required_input_names() == [name for name in EXAMPLE if name != ID_COLUMN]


def test_mlflow_server_scores_json_and_csv(registered, tmp_path):
    database = tmp_path / "predictions.db"
    records = [dict(zip(EXAMPLE, row, strict=True)) for row in zip(*EXAMPLE.values(), strict=True)]
    split = {"columns": list(EXAMPLE), "data": [list(record.values()) for record in records]}
    bodies = [{"dataframe_split": split}, {"dataframe_records": records}]
    with mlflow_server(registered, NAME, PREDICTION_LOG_URI=f"sqlite:///{database}") as server:
        calls = [(json.dumps(body), "application/json") for body in bodies]
        for body, media_type in [*calls, (CSV_LINES, "text/csv")]:
            answer = requests.post(
                f"{server.url}/invocations", body, headers={"Content-Type": media_type}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            scores = [row["score"] for row in answer.json()["predictions"]]
            assert scores == pytest.approx(EXAMPLE_SCORES.tolist(), rel=1e-12)
    found = logged_rows(database)
    assert [row["entity_id"] for row in found] == ["a", "b"] * 3
    assert [row["features"] for row in found] == [row["features"] for row in found[:2]] * 3


def frames():
    """Return the example in other dtypes than the signature's."""
    frame = pd.DataFrame(EXAMPLE)
    dates = pd.to_datetime(frame["since"])
    return {
        "objects": frame.astype(object),
        "integers with missing": frame.assign(id=pd.array([1, None], "Int64")),
        "categories": frame.astype({"zip": "category", "member": "category"}),
        "booleans": frame.assign(
            member=pd.array([True, None], "boolean"), paid=pd.array([None, True], "boolean")
        ),
        "dates": frame.assign(since=dates),
        "dates with zone": frame.assign(since=dates.dt.tz_localize("Europe/Berlin")),
        "texts": frame.assign(zip=frame["zip"].astype("string")),
    }


@pytest.mark.parametrize("name", frames())
def test_documented_line_casts_by_the_signature(champion, name):
    lines = re.search(r"```python\n(inputs = .*?)```", DOCUMENTATION.read_text(), re.DOTALL)[1]
    names = {"model": champion, "rows": frames()[name]}
    exec(lines, names)
    scores = names["scores"]["score"]
    assert scores.tolist() == pytest.approx(EXAMPLE_SCORES.tolist(), rel=1e-12)
