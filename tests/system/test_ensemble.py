"""An ensemble of a MOJO and an ONNX graph as champion, from its selection to its scores."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from serving.model.ensemble import member_folder
from serving.model.probabilities import combine
from serving.model.scorer import PortableScorer
from steps.batch.champion_scorer import load_champion_scorer
from steps.batch.input import read_input
from steps.batch.job import ScoringJob
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.candidates.ensembles import EnsembleMember, read_members
from steps.candidates.queries import (
    download_scorer,
    importance_of,
    native_scores,
    validation_scores,
)
from steps.data.logged_splits import open_splits
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import ks_threshold
from steps.runtime.spark_session import spark_session
from steps.runtime.threshold_rule import ThresholdRule
from steps.selection import ensemble
from steps.selection.threshold import choose_threshold, threshold_of
from tests.support.in_process_steps import InProcessSteps
from tests.support.log_fixtures import logged_rows
from tests.support.servers import mlflow_server
from tests.support.service_fixtures import service_in_process
from tests.support.workspaces import Workspace, tracking_in

NAME = "ensemble-of-two"
WEIGHTS = {"h2o": 0.75, "pycaret": 0.25}


@dataclass(frozen=True)
class Selected:
    """The outcome of a selection that the ensemble won."""

    workspace: Workspace
    exit_status: int
    members: list[EnsembleMember]
    rows: pd.DataFrame

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the registered champion."""
        return self.workspace.client.get_model_version_by_alias(NAME, "champion").tags

    @property
    def expected(self) -> np.ndarray:
        """The scores of the champion's members, combined."""
        scores = []
        for member in self.members:
            with download_scorer(member.run_id) as folder:
                scores.append(PortableScorer.load(folder).uncalibrated.score(self.rows))
        return combine(scores, [member.weight for member in self.members])


def members_of_two_engines(workspace, steps) -> dict[str, str]:
    """Return a refittable candidate of each of two engines."""
    return {
        engine: next(
            run.info.run_id
            for run in workspace.children(steps[f"train_{engine}"].info.run_id)
            if run.data.tags["refittable"] == "true"
        )
        for engine in WEIGHTS
    }


@pytest.fixture(scope="module")
def selected(completed_run, step_runs, tmp_path_factory):
    """A selection in which the ensemble wins and a member cannot be refitted."""
    workspace = completed_run.workspace.copy(tmp_path_factory.mktemp("ensemble"))
    members = members_of_two_engines(workspace, step_runs)
    (workspace.copy_artifacts(members["h2o"]) / "configuration.json").unlink()

    with tracking_in(workspace):
        chosen = [native_scores(run_id) for run_id in members.values()]

    def weights(y, scores):
        places = [int(np.abs(scores - one).max(axis=1).argmin()) for one in chosen]
        found = np.zeros(len(scores))
        found[places] = list(WEIGHTS.values())
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "select_weights", weights)
        patch.setattr(ensemble, "cross_fitted_scores", lambda y, _: 0.2 + 0.6 * y)
        status = InProcessSteps(workspace.folder).run(
            "select_champion",
            data_run_id=step_runs["load_data"].info.run_id,
            training_run_ids=",".join(step_runs[f"train_{e}"].info.run_id for e in WEIGHTS),
            model_name=NAME,
        )
    with tracking_in(workspace):
        found = workspace.client.get_model_version_by_alias(NAME, "champion").tags
        with open_splits(found["data_run_id"]) as splits:
            rows = splits.test.X.head(300)
        yield Selected(workspace, status, read_members(found["model_run_id"]), rows)


def test_member_whose_refit_fails_keeps_its_first_fit(selected, step_runs):
    first = members_of_two_engines(selected.workspace, step_runs)
    by_engine = {member.engine: member for member in selected.members}
    assert {engine: member.refitted for engine, member in by_engine.items()} == {
        "h2o": False,
        "pycaret": True,
    }
    assert by_engine["h2o"].run_id == first["h2o"]
    assert by_engine["pycaret"].run_id != first["pycaret"]
    assert selected.exit_status != 0
    selection = selected.workspace.client.get_run(selected.tags["selection_run_id"])
    assert "ensemble could not refit the winner: h2o " in selection.data.tags["error"]
    assert selected.tags["engine"] == "ensemble"
    assert selected.tags["refit"] == "true"


def test_ensemble_is_recorded_like_any_candidate(selected):
    run = selected.workspace.client.get_run(selected.tags["candidate_run_id"])
    assert run.data.tags["proven"] == "true"
    assert run.data.metrics["export_largest_difference"] < 1e-12
    assert run.data.metrics["seconds_per_row"] > 0
    assert importance_of(run.info.run_id)["roc_auc_loss"][0] > 0.005
    with (
        open_splits(selected.tags["data_run_id"]) as splits,
        download_scorer(run.info.run_id) as folder,
    ):
        cross_fitted = validation_scores(run.info.run_id)
        y = splits.validation.y
        threshold = PortableScorer.load(folder).manifest.threshold
        recall = ThresholdRule.parse("recall=0.9")
        of_recall = threshold_of(recall, run.info.run_id, splits.validation)
    assert run.data.metrics["val_ks"] == Estimate(y, cross_fitted).metrics["ks"]
    assert threshold == ks_threshold(y, cross_fitted)
    assert of_recall == choose_threshold(recall, y, cross_fitted)
    board = mlflow.load_table("leaderboard.json", run_ids=[selected.tags["selection_run_id"]])
    assert board["engine"].iloc[0] == "ensemble"
    assert board["seconds_per_row"].notna().all()


def test_registered_ensemble_scores_like_its_members(selected):
    champion = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    answers = champion.predict(selected.rows)
    np.testing.assert_allclose(answers["score"], selected.expected, rtol=1e-12)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion"))
    requirements = (folder / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "jpype1==" in requirements
    description = selected.workspace.client.get_model_version_by_alias(NAME, "champion").description
    assert "(75%), pycaret " in description


def test_service_scores_with_ensemble(selected, database):
    model = mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion")
    assert member_folder(Path(model) / "artifacts" / "scorer", 1).is_dir()
    with service_in_process(Path(model)) as client:
        columns = selected.rows.to_dict("list")
        answer = client.post("/predict", json=columns)
        described = client.get("/model").json()
    assert answer.status_code == 200, answer.text
    scores = [row["score"] for row in answer.json()["predictions"]]
    np.testing.assert_allclose(scores, selected.expected, rtol=1e-12)
    assert len(logged_rows(database)) == len(scores)
    assert described["kind"] == "ensemble"
    assert [member["weight"] for member in described["members"]] == [0.75, 0.25]


@pytest.mark.slow
def test_model_server_and_batch_score_with_ensemble(selected, tmp_path):
    with mlflow_server(selected.workspace, NAME) as server:
        scores = [row["score"] for row in server.predict(selected.rows)]
    np.testing.assert_allclose(scores, selected.expected, rtol=1e-12)
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    selected.rows.to_parquet(source)
    output.mkdir()
    with load_champion_scorer(NAME) as champion, spark_session("local[1]", SPARK_SETTINGS) as spark:
        read = read_input(spark, str(source), champion.scorer.manifest.features)
        score_table(read, ScoringJob.of(read, champion.identity), champion, output, check_ids=False)
    np.testing.assert_allclose(pd.read_parquet(output)["score"], selected.expected, rtol=1e-12)
