"""Steps whose result another run would not repeat."""

from unittest.mock import Mock

import mlflow
import pytest

from steps.engines.h2o import H2OEngine
from steps.workflow import cache
from tests.support.workspaces import Workspace, tracking_in


@pytest.mark.parametrize(("seconds", "reused"), [(1, True), (300, False)])
def test_search_cut_off_by_its_time_limit_is_not_reused(tmp_path, seconds, reused):
    engine = H2OEngine("quick", 42, "")
    automl = Mock(training_info={"duration_secs": seconds})
    with tracking_in(Workspace(tmp_path)), mlflow.start_run():
        with mlflow.start_run(nested=True) as step:
            mlflow.log_text("a result", "result.txt")
            engine._warn_if_incomplete(automl, ["GBM_1"], limit=300)
        cache.remember(step.info.run_id, "key")
        found = cache.find("key")
    assert (found is not None) == reused
