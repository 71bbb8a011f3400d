"""H2O: failures of a search and of a model, and XGBoost on many rows."""

import logging

import pytest
from h2o.estimators import H2OGradientBoostingEstimator

from steps.engines import h2o as h2o_engine
from steps.runtime.errors import EngineError


@pytest.mark.slow
def test_h2o_reports_truncated_search_and_failed_model(small_splits, monkeypatch, caplog):
    monkeypatch.setitem(h2o_engine.MAX_SECONDS, "quick", 1)
    monkeypatch.setitem(h2o_engine.MODELS, "quick", 50)
    failing = H2OGradientBoostingEstimator(custom_metric_func="python:missing=missing.Metric")
    failed = pytest.raises(EngineError, match=r"^H2O failed: Job with key .* failed with an .*$")
    engine = h2o_engine.H2OEngine("quick", seed=7)
    with caplog.at_level(logging.WARNING), failed, engine.running(small_splits):
        engine.search(small_splits)
        frame = engine._frame(small_splits.training)
        failing.train(x=small_splits.names, y=small_splits.target, training_frame=frame)
    assert "reached its limit of 1 s with " in caplog.text
    assert "of 50 models; such a search does not repeat" in caplog.text


def test_xgboost_sums_histograms_on_many_rows(small_splits, monkeypatch):
    monkeypatch.setitem(h2o_engine.MODELS, "quick", 1)
    engine = h2o_engine.H2OEngine("quick", seed=7)
    fit_on, *_ = h2o_engine._portions(small_splits.training, seed=7)
    models = []
    with engine.running(small_splits):
        for limit in (len(fit_on) + 1, len(fit_on)):
            monkeypatch.setattr(h2o_engine, "HISTOGRAM_ROWS", limit)
            models += engine.search(small_splits)
        exact, hist = models
        again = engine.fit(hist.configuration, fit_on).scores(small_splits.validation)
        assert (again == hist.scores(small_splits.validation)).all()
        models.append(engine.fit(exact.configuration, fit_on))
    methods = [model.configuration["parameters"]["tree_method"] for model in models]
    assert methods == ["exact", "hist", "hist"]
    of_a_cluster = h2o_engine.H2OEngine("quick", seed=7, url="http://cluster:54321")
    assert of_a_cluster._algo_parameters(len(fit_on)) == {}
