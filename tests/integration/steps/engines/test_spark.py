"""Spark ML: failures of a classifier."""

import logging

import pytest

from steps.engines.spark import SparkEngine


@pytest.fixture
def table(table):
    """A table whose values overflow in a logistic regression, and in no tree."""
    return table.assign(V2=table["V2"] * 1e300)


def test_spark_continues_without_failed_classifier(small_splits, caplog):
    engine = SparkEngine("quick", seed=7, master="local[1]")
    with caplog.at_level(logging.WARNING), engine.running(small_splits):
        algorithms, cached = [], []
        for model in engine.search(small_splits):
            algorithms.append(model.algorithm)
            cached.append(engine._spark.sparkContext._jsc.getPersistentRDDs().size())
    assert algorithms == ["Decision Tree", "Random Forest", "Gradient-Boosted Trees"]
    assert cached == [0, 0, 0], "rows stay in memory, also those of the failed classifier"
    assert "spark Logistic Regression failed: " in caplog.text
    assert "\n" not in caplog.messages[0]
