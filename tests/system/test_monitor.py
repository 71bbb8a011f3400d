"""Entry point `monitor`."""

from tests.support.log_fixtures import open_prediction_log
from tests.support.workspaces import monitoring_runs


def test_empty_window_is_reported(serving_workspace, workspace, completed_run):
    uri = f"sqlite:///{serving_workspace.database}"
    with open_prediction_log(uri):
        pass
    done = workspace.run("monitor", log_uri=uri, retrain="auto", promote="auto")
    assert done.returncode == 0, done.stderr
    assert "0 predictions: drift unknown, performance unknown" in done.stderr
    assert "no challenger of credit-card-fraud has scored predictions of this" in done.stderr
    (found,) = monitoring_runs(workspace, "credit-card-fraud")
    assert found.data.tags["drift_detected"] == "unknown"
    assert "the window has no predictions of this model" in found.data.tags["drift_reason"]
    run_id, experiment_id = found.info.run_id, found.info.experiment_id
    note = found.data.tags["mlflow.note.content"]
    assert "[credit-card-fraud version 1](#/models/credit-card-fraud/versions/1) of [" in note
    assert f"![summary](get-artifact?path=plots/summary.png&run_uuid={run_id})" in note
    champion = workspace.client.get_model_version_by_alias("credit-card-fraud", "champion")
    registered_by = workspace.client.get_run(champion.run_id).data.tags["mlflow.note.content"]
    assert f"[credit-card-fraud monitoring](#/experiments/{experiment_id}/runs)" in registered_by
