"""Tables of other people from training to retraining, with no option but data and target."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests

from serving.model.scorer import PortableScorer
from steps.batch.champion_scorer import load_champion_scorer
from steps.candidates.queries import ENSEMBLE, download_scorer, native_scores
from steps.data.logged_splits import open_splits
from tests.support.log_fixtures import logged_rows
from tests.support.own_tables import TABLES, OwnTable, own_table
from tests.support.project import PROJECT
from tests.support.servers import Server, mlflow_server
from tests.support.service_fixtures import service_process
from tests.support.workspaces import Workspace, monitoring_runs, tracking_in

MODEL = "mine"
SENT_ROWS, LABELLED_ROWS = 40, 600
LIMITS = {"rtol": 1e-6, "atol": 1e-9}


@dataclass(frozen=True)
class Trained:
    """A table and the workspace of its models."""

    table: OwnTable
    workspace: Workspace

    @property
    def main_run(self):
        return self.workspace.runs("attributes.run_name = 'main'")[-1]

    @property
    def log_uri(self) -> str:
        return f"sqlite:///{self.workspace.folder}/predictions.db"


@pytest.fixture(scope="module", params=TABLES)
def trained(request, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp(request.param)
    table = own_table(request.param, folder)
    workspace = Workspace(folder)
    done = workspace.run(
        data=str(table.file), target=table.target, profile="quick", model_name=MODEL
    )
    assert done.returncode == 0, done.stderr
    return Trained(table, workspace)


@pytest.fixture(scope="module")
def scorer(trained) -> Iterator[PortableScorer]:
    """The portable scorer of the champion."""
    with tracking_in(trained.workspace), load_champion_scorer(MODEL) as champion:
        yield champion.scorer


@pytest.fixture(scope="module")
def expected(trained, scorer):
    """The scores of the first rows."""
    return scorer.score(typed(trained, scorer, trained.table.rows.head(SENT_ROWS)))


@pytest.fixture(scope="module")
def service(trained) -> Iterator[Server]:
    uri = f"models:/{MODEL}@champion"
    environment = {
        "MLPIPES_MODEL_URI": uri,
        "MLFLOW_TRACKING_URI": trained.workspace.tracking_uri,
        "PREDICTION_LOG_URI": trained.log_uri,
    }
    with service_process(trained.workspace, **environment) as server:
        yield server


def typed(trained, scorer, rows):
    """Return rows as the documented line casts them."""
    documentation = (PROJECT / "docs" / "serve.md").read_text()
    lines = re.search(r"```python\n(inputs = .*?)scores = ", documentation, re.DOTALL)[1]
    with tracking_in(trained.workspace):
        names = {"model": mlflow.pyfunc.load_model(f"models:/{MODEL}@champion"), "rows": rows}
    exec(lines, names)
    return names["rows"]


def csv_lines(trained) -> bytes:
    """Return the first rows of the file as they are."""
    return b"".join(trained.table.file.read_bytes().splitlines(keepends=True)[: SENT_ROWS + 1])


def answered(server, body, media_type="application/json", path="/invocations"):
    headers = {"Content-Type": media_type}
    answer = requests.post(f"{server.url}{path}", body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return [row["score"] for row in answer.json()["predictions"]]


def as_json(trained) -> dict[str, str]:
    """Return the first rows, with all columns, in two forms of JSON."""
    rows = trained.table.rows.head(SENT_ROWS)
    split = json.loads(rows.to_json(orient="split", index=False, double_precision=15))
    return {
        "split": json.dumps({"dataframe_split": split}),
        "columns": json.dumps(
            {
                name: [row[place] for row in split["data"]]
                for place, name in enumerate(split["columns"])
            }
        ),
    }


def test_exports_reproduce_engines_and_champion_is_registered(trained):
    candidates = trained.workspace.runs("metrics.val_ks >= 0")
    assert {run.data.tags["engine"] for run in candidates} >= {"h2o", "pycaret", "spark"}
    assert {run.data.tags["proven"] for run in candidates} == {"true"}
    with tracking_in(trained.workspace):
        with open_splits(candidates[0].data.tags["data_run_id"]) as splits:
            rows = splits.validation.frame
        for run in candidates:
            if run.data.tags["engine"] == ENSEMBLE:  # has cross-fitted scores
                continue
            with download_scorer(run.info.run_id) as folder:
                scores = PortableScorer.load(folder).uncalibrated.score(rows)
            native = native_scores(run.info.run_id)
            np.testing.assert_allclose(scores, native, **LIMITS, err_msg=run.info.run_name)
    found = trained.workspace.client.get_model_version_by_alias(MODEL, "champion")
    assert str(found.version) == "1"


def test_service_scores_raw_rows(trained, service, expected):
    columns = as_json(trained)["columns"]
    for scores in (
        answered(service, columns, path="/predict"),
        answered(service, csv_lines(trained), "text/csv"),
    ):
        np.testing.assert_allclose(scores, expected, **LIMITS)


def test_mlflow_server_and_pyfunc_score_raw_rows(trained, scorer, expected):
    with mlflow_server(trained.workspace, MODEL, PREDICTION_LOG_URI=trained.log_uri) as server:
        np.testing.assert_allclose(answered(server, as_json(trained)["split"]), expected, **LIMITS)
        in_csv = answered(server, csv_lines(trained), "text/csv")
        np.testing.assert_allclose(in_csv, expected, **LIMITS)
    rows = typed(trained, scorer, trained.table.rows.head(SENT_ROWS))
    with tracking_in(trained.workspace):
        model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    np.testing.assert_allclose(model.predict(rows)["score"], expected, **LIMITS)


def test_batch_scores_whole_table(trained, scorer, expected):
    output = trained.workspace.folder / "scored"
    done = trained.workspace.run(
        "score_batch", input=str(trained.table.file), output=str(output), model_name=MODEL
    )
    assert done.returncode == 0, done.stderr
    scored = pd.read_parquet(output)
    assert len(scored) == len(trained.table.rows)
    np.testing.assert_allclose(scored["score"].head(SENT_ROWS), expected, **LIMITS)
    again = scorer.score(typed(trained, scorer, trained.table.rows))
    np.testing.assert_allclose(scored["score"], again, **LIMITS)


@pytest.mark.slow
def test_monitoring_and_retraining_take_logged_rows(trained, service):
    rows = trained.table.rows
    # Some tables are sorted by their target.
    rows = rows.sample(min(LABELLED_ROWS, len(rows)), random_state=0)
    file = trained.workspace.folder / "new.csv"
    rows.to_csv(file, index=False)
    predictions = requests.post(
        f"{service.url}/invocations",
        file.read_bytes(),
        headers={"Content-Type": "text/csv"},
        timeout=120,
    ).json()["predictions"]
    classes = requests.get(f"{service.url}/model", timeout=30).json()["classes"]
    labels = [
        {"prediction_id": prediction["prediction_id"], "label": int(str(value) == classes[1])}
        for prediction, value in zip(predictions, rows[trained.table.target], strict=True)
    ]
    answer = requests.post(f"{service.url}/feedback", json={"labels": labels}, timeout=60)
    assert answer.json() == {"recorded": len(rows), "unknown": []}
    done = trained.workspace.run(
        "monitor", model_name=MODEL, retrain="always", log_uri=trained.log_uri
    )
    assert done.returncode == 0, done.stderr
    (run,) = monitoring_runs(trained.workspace, MODEL)
    assert run.data.metrics["labels"] == len(rows)
    assert run.data.tags["drift_detected"] in ("true", "false")
    assert run.data.tags["retrained"].startswith("yes: ")
    workflow = trained.workspace.client.get_run(run.data.tags["retraining_run_id"])
    assert workflow.info.status == "FINISHED"
    assert logged_rows(trained.workspace.folder / "predictions.db")
