"""A shared H2O cluster: others' frames stay, ours go; refits on it."""

import h2o
import pytest
import requests
from h2o.estimators import H2OGradientBoostingEstimator, H2OXGBoostEstimator

from steps.engines.h2o import H2OEngine
from steps.engines.h2o_cluster import h2o_cluster, own_name
from steps.runtime.errors import EngineError
from tests.support.clusters import h2o_nodes
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with h2o_nodes(tmp_path_factory.mktemp("h2o"), 1) as url:
        yield url


@pytest.fixture
def others_frame(cluster):
    """A frame that another person keeps in the cluster."""
    h2o.connect(url=cluster, verbose=False)
    frame = h2o.H2OFrame({"x": [1, 2, 3]}, destination_frame="others")
    h2o.connection().close()
    return frame.frame_id


def keys(url: str) -> set[str]:
    """Return the names of all objects in the cluster."""
    h2o.connect(url=url, verbose=False)
    try:
        return set(h2o.ls()["key"])
    finally:
        h2o.connection().close()


def running_jobs(url: str) -> list[str]:
    jobs = requests.get(f"{url}/3/Jobs", timeout=30).json()["jobs"]
    return [job["dest"]["name"] for job in jobs if job["status"] == "RUNNING"]


def test_step_leaves_only_the_objects_of_others(cluster, others_frame, small_splits):
    engine = H2OEngine("quick", seed=7, url=cluster)
    with engine.running(small_splits):
        single = engine.search(small_splits)[0]
        refitted = engine.fit(single.configuration, small_splits.training)
        refitted.scores(small_splits.validation)
        assert len(h2o.ls()) > 20
    assert keys(cluster) == {others_frame}


def interrupt_training(url: str, splits) -> None:
    """Start a long training in the cluster, and be interrupted once it runs."""
    with h2o_cluster(url):
        frame = h2o.upload_file(str(splits.training.file), own_name("training"))
        frame[splits.target] = frame[splits.target].asfactor()
        model = H2OGradientBoostingEstimator(ntrees=100_000, model_id=own_name("gbm"))
        model.start(x=splits.names, y=splits.target, training_frame=frame)
        wait_until(lambda: running_jobs(url))
        raise KeyboardInterrupt


def test_interrupted_step_cancels_its_jobs(cluster, others_frame, small_splits):
    with pytest.raises(KeyboardInterrupt):
        interrupt_training(cluster, small_splits)
    assert running_jobs(cluster) == []
    assert keys(cluster) == {others_frame}


@pytest.mark.slow
def test_xgboost_of_two_nodes_is_fitted_again(small_splits, tmp_path):
    """Several nodes choose a method for XGBoost's trees that H2O refuses as a parameter."""
    with h2o_nodes(tmp_path, 2) as url:
        engine = H2OEngine("quick", seed=7, url=url)
        with engine.running(small_splits):
            model = H2OXGBoostEstimator(ntrees=5, min_rows=1, col_sample_rate=0.8, seed=7)
            frame = engine._frame(small_splits.training)
            model.train(x=small_splits.names, y=small_splits.target, training_frame=frame)
            first = engine._trained(model, "XGBoost_1")
            again = engine.fit(first.configuration, small_splits.training)
            assert model.actual_params["tree_method"] == "approx"
            scores = first.scores(small_splits.validation)
            assert (again.scores(small_splits.validation) == scores).all()
    assert len(set(scores)) > 1


def test_refused_parameters_are_one_line(cluster, small_splits):
    parameters = {"tree_method": "approx", "col_sample_rate": 0.8}
    configuration = {"algo": "xgboost", "name": "XGBoost_1", "parameters": parameters}
    engine = H2OEngine("quick", seed=7, url=cluster)
    reason = "^H2O failed: Illegal argument.* approx is not supported with"
    with pytest.raises(EngineError, match=reason), engine.running(small_splits):
        engine.fit(configuration, small_splits.training)
