"""The whole workflow on the real sample, as `mlflow run .` leaves it behind."""

import json
import re
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from serving.scorer import PortableScorer
from steps.pipeline.evaluation import evaluate, ks_threshold
from steps.pipeline.sources import read_source
from steps.pipeline.table import split_table
from tests.conftest import tracked

ENGINES = ("h2o", "pycaret", "spark")
METRICS = ("val_ks", "val_roc_auc", "val_average_precision", "val_log_loss", "val_brier")


@pytest.fixture
def tracking(workspace, finished):
    with tracked(workspace):
        yield workspace


@pytest.fixture(scope="session")
def candidates(workspace, steps):
    """The candidate runs by engine."""
    return {e: workspace.children(steps[f"train_{e}"].info.run_id) for e in ENGINES}


@pytest.fixture(scope="session")
def splits():
    return split_table(read_source("sample"), "sample", "Class", "Time", "auto", 42)


def test_one_parent_one_child_a_step_one_grandchild_a_candidate(main_run, steps, candidates):
    assert set(steps) == {"load_data", "select_champion", *(f"train_{e}" for e in ENGINES)}
    assert all(run.info.status == "FINISHED" for run in (main_run, *steps.values()))
    assert len(candidates["h2o"]) >= 4
    assert any("Ensemble" in run.data.tags["algorithm"] for run in candidates["h2o"])
    assert len(candidates["pycaret"]) >= 3
    assert {run.data.tags["algorithm"] for run in candidates["spark"]} == {
        "Logistic Regression",
        "Decision Tree",
        "Random Forest",
        "Gradient-Boosted Trees",
    }


def test_the_end_of_the_output_says_what_a_person_wants_to_know(finished):
    end = finished.output[finished.output.index("rank  engine") :]
    assert "credit-card-fraud version 1 is the new champion: it is the first" in end
    assert "mlflow models serve -m models:/credit-card-fraud@champion" in end
    assert re.search(r"test_ks 0\.\d{4}", end)


def test_every_candidate_is_judged_and_recorded_alike(workspace, candidates):
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
            assert files == {f"plots/{name}.png" for name in ("roc", "pr", "ks", "calibration")}
            assert run.outputs.model_outputs or engine == "spark"  # its native model
    assert len(digests) == 1


def test_every_export_is_equal_to_its_model(candidates):
    for runs in candidates.values():
        for run in runs:
            assert run.data.tags["proven"] == "true", run.data.tags
            assert run.data.metrics["export_largest_difference"] < 1e-12


def test_scorers_give_the_metrics_that_were_logged(tracking, candidates, splits):
    validation = splits.validation
    y = validation["Class"].to_numpy()
    for runs in candidates.values():
        run = runs[0]
        folder = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="scorer")
        scorer = PortableScorer.load(folder)
        scores = scorer.score(validation)
        for name, value in evaluate(y, scores).items():
            assert run.data.metrics[f"val_{name}"] == pytest.approx(value, abs=1e-9)
        assert scorer.manifest.threshold == pytest.approx(ks_threshold(y, scores), rel=1e-9)


def test_scores_are_probabilities_at_the_training_prior(candidates):
    regressions = [
        run
        for runs in candidates.values()
        for run in runs
        if run.data.tags["algorithm"] == "Logistic Regression"
    ]
    assert len(regressions) == 2
    for run in regressions:  # balanced fits: uncorrected, their log loss is 0.1
        assert run.data.metrics["val_log_loss"] < 0.04


def test_splits_are_logged_with_context_and_as_doubles(tracking, steps, splits):
    run = steps["load_data"]
    contexts = [i.tags[0].value for i in run.inputs.dataset_inputs]
    assert sorted(contexts) == ["test", "training", "validation"]
    assert run.data.metrics["duplicates_removed"] == splits.duplicates == 19
    for name, part in splits.parts.items():
        path = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path=f"splits/{name}.parquet"
        )
        pd.testing.assert_frame_equal(pd.read_parquet(path), part.reset_index(drop=True))
        assert (part.drop(columns="Class").dtypes == np.float64).all()


def test_the_champion_is_the_best_candidate_fitted_again(workspace, steps, candidates):
    tags = steps["select_champion"].data.tags
    everyone = [run for runs in candidates.values() for run in runs]
    best = max(everyone, key=lambda run: run.data.metrics["val_ks"])
    assert tags["candidate_run_id"] == best.info.run_id
    assert tags["refit"] == "true"
    model = workspace.client.get_run(tags["model_run_id"])
    assert model.data.tags["refit_of"] == best.info.run_id
    assert not [name for name in model.data.metrics if name.startswith("val_")]
    assert model.data.tags["proven"] == "true"


def test_the_threshold_is_that_of_the_first_fit(tracking, steps):
    tags = steps["select_champion"].data.tags
    folders = (
        mlflow.artifacts.download_artifacts(run_id=tags[run], artifact_path="scorer")
        for run in ("candidate_run_id", "model_run_id")
    )
    first, again = (PortableScorer.load(folder).manifest for folder in folders)
    assert first.threshold == again.threshold
    assert first.positive_weight == again.positive_weight


def test_the_registered_version_tells_all(workspace, steps):
    client = workspace.client
    version = client.get_model_version_by_alias("credit-card-fraud", "champion")
    assert int(version.version) == 1
    assert version.current_stage == "Production"
    for tag in ("engine", "algorithm", "decision", "candidate_run_id", "test_uses"):
        assert version.tags[tag]
    assert "metric on the untouched test rows" in version.description
    metrics = steps["select_champion"].data.metrics
    value, low, high = (metrics[f"test_ks{end}"] for end in ("", "_low", "_high"))
    assert f"| ks | {value:.4f} ({low:.4f} to {high:.4f}) |" in version.description


def test_the_champion_scores_the_test_rows_as_was_logged(tracking, steps, splits, tmp_path):
    champion = mlflow.pyfunc.load_model("models:/credit-card-fraud@champion")
    answers = champion.predict(splits.test.drop(columns="Class"))
    assert list(answers.columns) == ["prediction_id", "score", "label"]
    measured = evaluate(splits.test["Class"].to_numpy(), answers["score"].to_numpy())
    logged = steps["select_champion"].data.metrics
    for name, value in measured.items():
        assert logged[f"test_{name}"] == pytest.approx(value, abs=1e-12)


def test_nothing_in_the_registered_artifact_is_a_pickle(tracking):
    folder = mlflow.artifacts.download_artifacts("models:/credit-card-fraud@champion")
    names = [path.name for path in sorted(Path(folder).rglob("*"))]
    assert "champion.py" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".pyc"))]
    requirements = (Path(folder) / "requirements.txt").read_text()
    assert not re.search(r"^(h2o|pycaret|pyspark|scikit-learn)\b", requirements, re.MULTILINE)


def test_pictures_are_where_people_look(workspace, main_run, steps):
    def pictures(run, folder="plots"):
        files = workspace.client.list_artifacts(run.info.run_id, folder)
        return {file.path.removeprefix("plots/") for file in files}

    selection = steps["select_champion"]
    assert pictures(steps["load_data"]) == {"classes.png", "drift.png", "distributions.png"}
    assert {"leaderboard.png", "ks_curves.png"} <= pictures(selection)
    assert {"leaderboard.png", "ks_curves.png"} <= pictures(main_run)
    assert "test/calibration.png" in pictures(selection, "plots/test")


def test_the_model_card_holds_metrics_with_intervals_and_pictures(tracking, steps):
    selection = steps["select_champion"]
    page = mlflow.artifacts.load_text(f"runs:/{selection.info.run_id}/model_card.html")
    assert page.count("data:image/png;base64,") == 6
    found = selection.data.metrics
    ks, low, high = (found[f"test_ks{end}"] for end in ("", "_low", "_high"))
    assert f"<td>ks</td>\n<td>{ks:.4f} ({low:.4f} to {high:.4f})</td>" in page


def test_the_leaderboard_is_ordered_and_whole(tracking, steps, candidates):
    board = mlflow.load_table("leaderboard.json", run_ids=[steps["select_champion"].info.run_id])
    assert board["val_ks"].is_monotonic_decreasing
    assert len(board) == sum(map(len, candidates.values()))


def test_configurations_are_kept_so_that_a_model_can_be_fitted_again(tracking, candidates):
    for runs in candidates.values():
        for run in runs:
            if run.data.tags["refittable"] == "true":
                text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/configuration.json")
                assert json.loads(text)


# The workflow itself does it with PyCaret's.
@pytest.mark.parametrize(("engine", "algorithm"), [("h2o", ""), ("spark", "Logistic Regression")])
def test_each_engine_can_fit_its_model_again(workspace, steps, candidates, engine, algorithm):
    refittable = [run for run in candidates[engine] if run.data.tags["refittable"] == "true"]
    run = next(run for run in refittable if algorithm in run.data.tags["algorithm"])
    done = workspace.run(
        f"train_{engine}",
        data_run_id=steps["load_data"].info.run_id,
        profile="quick",
        refit_of=run.info.run_id,
    )
    assert done.returncode == 0, done.stderr
    assert "fitted again; export equal to the model" in done.stderr
