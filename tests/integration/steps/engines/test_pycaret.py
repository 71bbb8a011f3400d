"""PyCaret: its shortlist, failures of a classifier, retired classifiers, and the exports."""

import logging
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from threadpoolctl import threadpool_info

from serving.model.runtimes import load_runtime
from steps.data import splits as splits_module
from steps.engines import pycaret as pycaret_engine
from steps.evaluation.metrics import ks
from steps.runtime.errors import EngineError
from tests.support.project import PROJECT
from tests.support.tables import splits_of


class FailingClassifier(DecisionTreeClassifier):
    error: Exception = ValueError("no")

    def fit(self, *_, **__):
        raise self.error


class OutOfMemory(FailingClassifier):
    error = MemoryError("Unable to allocate\n9 GiB")


class ImproperClassifier(GaussianNB):
    """Returns a score that is no probability."""

    def predict_proba(self, X):
        scores = super().predict_proba(X)
        scores[0] = np.nan
        return scores


class CertainClassifier(LogisticRegression):
    """Ranks rows like its base class, with probabilities that are too extreme."""

    def predict_proba(self, X):
        odds = np.exp(4 * self.decision_function(X))
        return np.column_stack([1 / (1 + odds), odds / (1 + odds)])


def engine(monkeypatch, **offered):
    monkeypatch.setattr(pycaret_engine, "classifiers", lambda *_: offered)
    return pycaret_engine.PyCaretEngine("quick", seed=7)


def test_a_classifier_that_fails_leaves_the_others(small_splits, monkeypatch, caplog):
    offered = {
        "tree": FailingClassifier(),
        "memory": OutOfMemory(),
        "improper": ImproperClassifier(),
        "bayes": GaussianNB(),
    }
    with caplog.at_level(logging.WARNING):
        (fitted,) = engine(monkeypatch, **offered).search(small_splits)
    assert fitted.algorithm == "bayes"
    messages = [record.getMessage() for record in caplog.records if record.name == "ml-pipes"]
    assert messages == [
        "PyCaret could not fit tree: ValueError: no",
        "PyCaret could not fit memory: MemoryError: Unable to allocate 9 GiB",
        "improper returned scores that are not probabilities",
    ]
    assert "Traceback" not in caplog.text


def test_pycaret_fails_without_any_classifier(small_splits, monkeypatch):
    with pytest.raises(EngineError, match="could not fit any classifier"):
        engine(monkeypatch, tree=FailingClassifier()).search(small_splits)


def test_candidates_are_the_best_by_ks_and_then_by_log_loss(table, tmp_path, monkeypatch):
    tables = {}
    monkeypatch.setattr("mlflow.log_table", lambda table, name: tables.update({name: table}))
    # Two classifiers rank rows by the only feature.
    rows = table[["V1", "Class"]]
    splits = splits_of([rows[:300], rows[300:], rows[300:]], tmp_path)
    negatives, positives = np.bincount(splits.training.y)
    offered = {
        "chance": DummyClassifier(strategy="prior"),
        "certain": CertainClassifier(),
        "weighted": LogisticRegression(class_weight={0: 1.0, 1: negatives / positives}),
    }
    monkeypatch.setattr(pycaret_engine, "CANDIDATES", 2)
    found = engine(monkeypatch, **offered).search(splits)
    assert [model.algorithm for model in found] == ["weighted", "certain"]
    scores = [model.scores(splits.validation) for model in found]
    assert len({ks(splits.validation.y, each) for each in scores}) == 1
    board = tables["pycaret_comparison.json"]
    assert board["Model"].tolist() == ["weighted", "certain", "chance"]
    losses = [log_loss(splits.validation.y, each) for each in scores]
    assert board["Log Loss"].tolist()[:2] == pytest.approx(losses, abs=1e-6)
    assert {"ROC AUC", "Average Precision", "Seconds"} <= set(board.columns)


def test_retired_classifier_is_fitted_again_but_not_compared(small_splits):
    earlier = {
        "algorithm": "Random Forest",
        "profile": "quick",
        "seed": 42,
        "positive_weight": 100.0,
    }
    fitted = pycaret_engine.PyCaretEngine("quick", seed=7).fit(earlier, small_splits.training)
    assert len(fitted.scores(small_splits.validation)) == len(small_splits.validation)
    found = pycaret_engine.PyCaretEngine("quick", seed=7).search(small_splits)
    assert len(found) == pycaret_engine.CANDIDATES
    assert "Random Forest" not in {model.algorithm for model in found}


@pytest.mark.parametrize("name", pycaret_engine.classifiers("quick", 9.0, 1))
def test_any_number_of_threads_fits_the_same_model_and_its_export_scores_alike(
    name, small_splits, tmp_path, monkeypatch
):
    configuration = {
        "algorithm": name,
        "profile": "quick",
        "seed": 1,
        "positive_weight": 9.0,
    }
    models, allowed = [], []
    create_model = pycaret_engine.Float64Experiment.create_model

    def recorded(*given, **options):
        allowed.extend(
            library["num_threads"]
            for library in threadpool_info()
            if library["user_api"] == "openmp"
        )
        return create_model(*given, **options)

    monkeypatch.setattr(pycaret_engine.Float64Experiment, "create_model", recorded)
    for values in (10**9, 0):
        monkeypatch.setattr(pycaret_engine, "VALUES_FOR_THREADS", values)
        fit = pycaret_engine.PyCaretEngine("quick", seed=1).fit
        models.append(fit(configuration, small_splits.training))
    assert min(allowed) == 1
    assert max(allowed) == len(os.sched_getaffinity(0))
    validation = small_splits.validation
    first, again = (model.scores(validation) for model in models)
    np.testing.assert_array_equal(first, again)
    models[0].export(tmp_path)
    runtime = load_runtime("onnx", tmp_path, validation.features)
    exported = runtime.probability(validation.X.to_numpy(np.float64))
    np.testing.assert_allclose(exported, models[0].predict(validation), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("values", "profile"), [(3_000, "full"), (2_999, "quick")])
def test_size_of_the_table_decides_on_the_profile_of_the_classifiers(
    values, profile, small_splits, monkeypatch
):
    """The training split has 300 rows; its 2 features count as 10."""
    offered = pycaret_engine.classifiers
    monkeypatch.setattr(
        pycaret_engine,
        "classifiers",
        lambda *given: {"Shallow LightGBM": offered(*given)["Shallow LightGBM"]},
    )
    monkeypatch.setattr(pycaret_engine, "MAX_VALUES_FOR_FULL_PROFILE", values)
    quick = pycaret_engine.PyCaretEngine("quick", seed=7)
    (model,) = quick.search(small_splits)
    assert model.configuration["profile"] == profile
    refit = quick.fit(model.configuration, small_splits.training)
    scores = [each.scores(small_splits.validation) for each in (model, refit)]
    np.testing.assert_array_equal(*scores)


def test_rows_are_scored_in_batches(small_splits, monkeypatch):
    configuration = {
        "algorithm": "Shallow LightGBM", "profile": "quick", "seed": 1, "positive_weight": 9.0,
    }  # fmt: skip
    model = pycaret_engine.PyCaretEngine("quick", seed=1).fit(configuration, small_splits.training)
    expected, whole = model.scores(small_splits.validation), small_splits.validation
    values = 7 * (len(whole.features) + 1)
    monkeypatch.setattr(splits_module, "VALUES_AT_ONCE", values)
    in_batches = replace(whole)
    np.testing.assert_array_equal(model.predict(in_batches), expected)
    assert "frame" not in vars(in_batches)


@pytest.mark.usefixtures("small_splits")
def test_evidently_is_not_imported_for_its_version(tmp_path):
    code = f"""
import sys
from pathlib import Path
from steps.data.splits import Splits
from steps.engines.pycaret import PyCaretEngine
configuration = {{
    "algorithm": "Naive Bayes", "profile": "quick", "seed": 1, "positive_weight": 9.0
}}
PyCaretEngine("quick", seed=1).fit(configuration, Splits(Path({str(tmp_path)!r})).training)
assert not [name for name in sys.modules if name.split(".")[0] == "evidently"]
import evidently  # can still be imported
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
