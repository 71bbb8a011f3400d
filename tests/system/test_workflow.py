"""Runs, artifacts and champion of the whole workflow on the real sample."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from serving.errors import ScorerError
from serving.model import mojo
from serving.model.runtimes import load_runtime
from serving.model.scorer import PortableScorer
from steps.candidates.queries import importance_of
from steps.evaluation.intervals import Estimate
from steps.evaluation.metrics import ks_threshold
from steps.runtime.mlproject import engine_names
from steps.selection.leaderboard import read_leaderboard
from tests.support.tables import load
from tests.support.workspaces import tracking_in

ENGINES = ("h2o", "pycaret", "spark")
METRICS = ("val_ks", "val_roc_auc", "val_average_precision", "val_log_loss", "val_brier")
PLOTS = ("roc", "pr", "ks", "calibration", "importance")


@pytest.fixture
def tracking(workspace, completed_run):
    with tracking_in(workspace):
        yield workspace


@pytest.fixture(scope="session")
def candidates(workspace, step_runs):
    """The candidate runs by engine."""
    return {e: workspace.children(step_runs[f"train_{e}"].info.run_id) for e in ENGINES}


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    return load("sample", tmp_path_factory.mktemp("splits"))


def test_run_hierarchy(main_run, step_runs, candidates):
    assert set(step_runs) == {"load_data", "select_champion", *(f"train_{e}" for e in ENGINES)}
    assert all(run.info.status == "FINISHED" for run in (main_run, *step_runs.values()))
    assert len(candidates["h2o"]) >= 4
    assert any("Ensemble" in run.data.tags["algorithm"] for run in candidates["h2o"])
    assert len(candidates["pycaret"]) >= 3
    assert {run.data.tags["algorithm"] for run in candidates["spark"]} == {
        "Logistic Regression",
        "Decision Tree",
        "Random Forest",
        "Gradient-Boosted Trees",
    }


def test_output_ends_with_champion(completed_run):
    (end,) = re.findall(r"(?ms)^ *# +engine .*", completed_run.output)
    result, _, _ = end.partition("\nNext:")
    assert max(map(len, result.splitlines())) <= 100
    assert "credit-card-fraud version 1 is the new champion: it is the first" in end
    assert "mlflow models serve -m models:/credit-card-fraud@champion" in end
    assert re.search(r"test_ks 0\.\d{4}", end)
    assert re.search(r"http://127\.0\.0\.1:5000/#/\S+/runs/\w+/artifacts/data\.html", end)


def test_candidates_are_recorded_alike(workspace, candidates):
    digests = set()
    for engine, runs in candidates.items():
        for run in runs:
            assert run.data.tags["engine"] == engine
            metrics = run.data.metrics
            for name in METRICS:
                assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
            contexts = {
                i.tags[0].value: (i.dataset.digest, i.dataset.name)
                for i in run.inputs.dataset_inputs
            }
            assert set(contexts) == {"training", "validation"}
            digests.add(contexts["validation"])
            files = {f.path for f in workspace.client.list_artifacts(run.info.run_id, "plots")}
            assert files == {f"plots/{name}.png" for name in PLOTS}
            assert run.outputs.model_outputs or engine == "spark"  # its native model
    assert len(digests) == 1


def test_importance_of_columns_is_cheap(tracking, step_runs, candidates, splits):
    for engine, runs in candidates.items():
        for run in runs:
            found = importance_of(run.info.run_id)
            assert sorted(found["column"]) == sorted(splits.names)
            assert found["roc_auc_loss"].is_monotonic_decreasing
            assert found["roc_auc_loss"][0] > 0.005
        seconds = step_runs[f"train_{engine}"].data.metrics
        assert seconds["seconds_importance"] < 0.1 * seconds["seconds_total"]


def test_exports_equal_their_models(candidates):
    for runs in candidates.values():
        for run in runs:
            assert run.data.tags["proven"] == "true", run.data.tags
            assert run.data.metrics["export_largest_difference"] < 1e-12


def test_scorers_reproduce_logged_metrics(tracking, candidates, splits):
    validation = splits.validation.frame
    y = splits.validation.y
    for runs in candidates.values():
        run = runs[0]
        folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="scorer")
        scorer = PortableScorer.load(folder)
        scores = scorer.score(validation)
        for name, value in Estimate(y, scores).metrics.items():
            assert run.data.metrics[f"val_{name}"] == pytest.approx(value, abs=1e-9)
        assert scorer.manifest.threshold == pytest.approx(ks_threshold(y, scores), rel=1e-9)


def test_mojos_score_the_same_in_calls_of_any_size(tracking, candidates, splits, monkeypatch):
    rows = np.asarray(splits.validation.X, dtype=float)[:500]
    names = splits.names
    for run in candidates["h2o"]:
        folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="scorer")
        runtime = load_runtime("mojo", Path(folder), names)
        scores = runtime.probability(rows)
        for values in (1, 7 * (len(names) + 3), rows.size):  # a row has three outputs
            monkeypatch.setattr(mojo, "VALUES_PER_CALL", values)
            assert (runtime.probability(rows) == scores).all()
        assert len(runtime.probability(rows[:0])) == 0
        backwards = load_runtime("mojo", Path(folder), names[::-1])
        assert (backwards.probability(rows[:, ::-1]) == scores).all()
    backwards._n_outputs = 1
    with pytest.raises(ScorerError, match=r"the MOJO cannot score: java.lang.ArrayIndexOutOf"):
        backwards.probability(rows)


def test_scores_are_probabilities_at_training_prior(candidates):
    regressions = [
        run
        for runs in candidates.values()
        for run in runs
        if run.data.tags["algorithm"] == "Logistic Regression"
    ]
    assert len(regressions) == 2
    for run in regressions:  # balanced fits: uncorrected, their log loss is 0.1
        assert run.data.metrics["val_log_loss"] < 0.04


def test_splits_are_logged_with_context(tracking, step_runs, splits):
    run = step_runs["load_data"]
    contexts = [i.tags[0].value for i in run.inputs.dataset_inputs]
    assert sorted(contexts) == ["test", "training", "validation"]
    assert run.data.metrics["duplicates_removed"] == splits.description.duplicates == 19
    for split in (splits.training, splits.validation, splits.test):
        name, frame = split.name, split.frame
        path = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path=f"splits/{name}.parquet"
        )
        pd.testing.assert_frame_equal(pd.read_parquet(path), frame)
        assert (frame.drop(columns="Class").dtypes == np.float64).all()


def test_champion_is_refitted_best_candidate(workspace, step_runs, candidates):
    tags = step_runs["select_champion"].data.tags
    below_selection = workspace.children(step_runs["select_champion"].info.run_id)
    ensembles = [run for run in below_selection if "val_ks" in run.data.metrics]
    everyone = [run for runs in (*candidates.values(), ensembles) for run in runs]
    best = max(everyone, key=lambda run: run.data.metrics["val_ks"])
    assert tags["candidate_run_id"] == best.info.run_id
    assert tags["refit"] == "true"
    model = workspace.client.get_run(tags["model_run_id"])
    assert model.data.tags["refit_of"] == best.info.run_id
    assert not [name for name in model.data.metrics if name.startswith("val_")]
    assert model.data.tags["proven"] == "true"


def test_threshold_precedes_refit(tracking, step_runs):
    tags = step_runs["select_champion"].data.tags
    folders = (
        mlflow.artifacts.download_artifacts(run_id=tags[run], artifact_path="scorer")
        for run in ("candidate_run_id", "model_run_id")
    )
    first, again = (PortableScorer.load(folder).manifest for folder in folders)
    assert first.threshold == again.threshold
    assert first.positive_weight == again.positive_weight


def test_registered_version_is_described(workspace, step_runs):
    client = workspace.client
    version = client.get_model_version_by_alias("credit-card-fraud", "champion")
    assert int(version.version) == 1
    assert version.current_stage == "Production"
    for tag in ("engine", "algorithm", "decision", "candidate_run_id", "test_uses"):
        assert version.tags[tag]
    assert "metric on the untouched test rows" in version.description
    metrics = step_runs["select_champion"].data.metrics
    value, low, high = (metrics[f"test_ks{end}"] for end in ("", "_low", "_high"))
    assert f"| ks | {value:.4f} ({low:.4f} to {high:.4f}) |" in version.description


def test_champion_reproduces_test_metrics(tracking, step_runs, splits, tmp_path):
    champion = mlflow.pyfunc.load_model("models:/credit-card-fraud@champion")
    answers = champion.predict(splits.test.X)
    assert list(answers.columns) == ["prediction_id", "score", "label"]
    measured = Estimate(splits.test.y, answers["score"].to_numpy()).metrics
    logged = step_runs["select_champion"].data.metrics
    for name, value in measured.items():
        assert logged[f"test_{name}"] == pytest.approx(value, abs=1e-12)


def test_registered_artifact_has_no_pickle(tracking):
    folder = mlflow.artifacts.download_artifacts("models:/credit-card-fraud@champion")
    names = [path.name for path in sorted(Path(folder).rglob("*"))]
    assert "champion.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".pyc"))]
    requirements = (Path(folder) / "requirements.txt").read_text()
    assert not re.search(r"^(h2o|pycaret|pyspark|scikit-learn)\b", requirements, re.MULTILINE)


def test_plots_are_logged(tracking, workspace, main_run, step_runs):
    def pictures(run, folder="plots"):
        files = workspace.client.list_artifacts(run.info.run_id, folder)
        return {file.path.removeprefix("plots/") for file in files}

    selection = step_runs["select_champion"]
    page = mlflow.artifacts.load_text(f"runs:/{step_runs['load_data'].info.run_id}/data.html")
    assert "<h3>V14</h3>" in page
    assert {"leaderboard.png", "ks_curves.png"} <= pictures(selection)
    assert {"leaderboard.png", "ks_curves.png"} <= pictures(main_run)
    assert "test/calibration.png" in pictures(selection, "plots/test")


def test_model_card_has_metrics_and_pictures(tracking, step_runs):
    selection = step_runs["select_champion"]
    page = mlflow.artifacts.load_text(f"runs:/{selection.info.run_id}/model_card.html")
    assert page.count("data:image/png;base64,") == 10
    found = selection.data.metrics
    ks, low, high = (found[f"test_ks{end}"] for end in ("", "_low", "_high"))
    assert f"<td>ks</td>\n<td>{ks:.4f} ({low:.4f} to {high:.4f})</td>" in page


def test_leaderboard_is_ordered_and_complete(tracking, step_runs, candidates):
    board = read_leaderboard(step_runs["select_champion"].info.run_id)
    assert board["val_ks"].is_monotonic_decreasing
    assert len(board) == sum(map(len, candidates.values())) + 1
    assert (board["engine"] == "ensemble").sum() == 1
    assert (board["seconds_per_row"] > 0).all()


def test_refittable_candidates_have_configuration(tracking, candidates):
    for runs in candidates.values():
        for run in runs:
            if run.data.tags["refittable"] == "true":
                text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/configuration.json")
                assert json.loads(text)


# The workflow itself does it with PyCaret's.
@pytest.mark.parametrize(("engine", "algorithm"), [("h2o", ""), ("spark", "Logistic Regression")])
def test_engines_refit_their_models(workspace, step_runs, candidates, engine, algorithm):
    refittable = [run for run in candidates[engine] if run.data.tags["refittable"] == "true"]
    run = next(run for run in refittable if algorithm in run.data.tags["algorithm"])
    done = workspace.run_step(
        f"train_{engine}",
        data_run_id=step_runs["load_data"].info.run_id,
        profile="quick",
        refit_of=run.info.run_id,
    )
    assert done.returncode == 0, done.stderr
    assert "refitted; export verified" in done.stderr


def test_workflow_completes_behind_proxy_in_unusual_temporary_folder(step_runs, completed_run):
    assert {name for name in step_runs if name.startswith("train_")} == {
        f"train_{engine}" for engine in engine_names()
    }
    assert {run.info.status for run in step_runs.values()} == {"FINISHED"}
    left = list(completed_run.temporary_folder.iterdir())
    # `mlflow run` itself leaves an empty folder.
    assert [path for path in left if not path.name.startswith("tmp") or any(path.iterdir())] == []
