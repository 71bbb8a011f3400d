"""PyCaret: failures of a classifier."""

import logging

from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from steps.engines import pycaret as pycaret_engine


class FailingClassifier(DecisionTreeClassifier):
    def fit(self, *_, **__):
        raise ValueError("no")


def test_pycaret_reports_failed_classifier(small_splits, monkeypatch, caplog):
    offered = {"Naive Bayes": GaussianNB(), "Decision Tree": FailingClassifier()}
    monkeypatch.setattr(pycaret_engine, "classifiers", lambda *_: offered)
    with caplog.at_level(logging.WARNING):
        (fitted,) = pycaret_engine.PyCaretEngine("quick", seed=7).search(small_splits)
    assert fitted.algorithm == "Naive Bayes"
    assert "PyCaret could not fit Decision Tree" in caplog.text
    assert "raised an exception or returned all 0.0: ValueError('no')" in caplog.text
    assert "Traceback" not in caplog.text
