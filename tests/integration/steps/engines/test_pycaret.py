"""PyCaret: its shortlist, failures of a classifier, retired classifiers, and the exports."""

import logging

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from serving.model.runtimes import load_runtime
from steps.engines import pycaret as pycaret_engine
from steps.evaluation.metrics import ks
from steps.runtime.errors import EngineError


class FailingClassifier(DecisionTreeClassifier):
    def fit(self, *_, **__):
        raise ValueError("no")


class CertainClassifier(LogisticRegression):
    """Ranks rows like its base class, with probabilities that are too extreme."""

    def predict_proba(self, X):
        odds = np.exp(4 * self.decision_function(X))
        return np.column_stack([1 / (1 + odds), odds / (1 + odds)])


def engine(monkeypatch, **offered):
    monkeypatch.setattr(pycaret_engine, "classifiers", lambda *_: offered)
    return pycaret_engine.PyCaretEngine("quick", seed=7)


def test_pycaret_reports_failed_classifier(small_splits, monkeypatch, caplog):
    failing = engine(monkeypatch, bayes=GaussianNB(), tree=FailingClassifier())
    with caplog.at_level(logging.WARNING):
        (fitted,) = failing.search(small_splits)
    assert fitted.algorithm == "bayes"
    assert "PyCaret could not fit tree: no" in caplog.text
    assert "Traceback" not in caplog.text


def test_pycaret_fails_without_any_classifier(small_splits, monkeypatch):
    with pytest.raises(EngineError, match="could not fit any classifier"):
        engine(monkeypatch, tree=FailingClassifier()).search(small_splits)


def test_candidates_are_the_best_by_ks_and_then_by_log_loss(small_splits, monkeypatch):
    offered = {
        "chance": DummyClassifier(strategy="prior"),
        "certain": CertainClassifier(),
        "logistic": LogisticRegression(),
    }
    monkeypatch.setattr(pycaret_engine, "CANDIDATES", 2)
    found = engine(monkeypatch, **offered).search(small_splits)
    assert [model.algorithm for model in found] == ["logistic", "certain"]
    y = small_splits.validation.y
    assert len({ks(y, model.scores(small_splits.validation)) for model in found}) == 1


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
def test_classifier_repeats_and_its_export_scores_alike(name, small_splits, tmp_path):
    configuration = {
        "algorithm": name,
        "profile": "quick",
        "seed": 1,
        "positive_weight": 9.0,
    }
    fit = pycaret_engine.PyCaretEngine("quick", seed=1).fit
    first, again = (fit(configuration, small_splits.training) for _ in range(2))
    validation = small_splits.validation
    scores = first.scores(validation)
    np.testing.assert_array_equal(scores, again.scores(validation))
    first.export(tmp_path)
    runtime = load_runtime("onnx", tmp_path, validation.features)
    exported = runtime.probability(validation.X.to_numpy(np.float64))
    weighted = first.predict(validation)
    np.testing.assert_allclose(exported, weighted, rtol=1e-6, atol=1e-9)
