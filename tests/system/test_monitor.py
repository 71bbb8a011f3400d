"""Entry point `monitor`."""

from tests.support.log_fixtures import open_prediction_log
from tests.support.workspaces import monitoring_runs


def test_empty_window_is_reported(serving_workspace, workspace, completed_run):
    uri = f"sqlite:///{serving_workspace.database}"
    with open_prediction_log(uri):
        pass
    done = workspace.run("monitor", log_uri=uri, retrain="auto")
    assert done.returncode == 0, done.stderr
    assert "0 predictions: drift unknown, performance unknown" in done.stderr
    (found,) = monitoring_runs(workspace, "credit-card-fraud")
    assert found.data.tags["drift_detected"] == "unknown"
    assert "the window has no predictions of this model" in found.data.tags["drift_reason"]
