"""Entry point `demo`: the closed loop on the real sample."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.project import SAMPLE_FILE
from tests.support.workspaces import Workspace, monitoring_runs


def test_demo_replaces_drifted_champion(tmp_path):
    """The demo: drift is found, a retrained champion takes over, no request is lost."""
    workspace, folder = Workspace(tmp_path), tmp_path / "demo"
    done = workspace.run("demo", folder=str(folder))
    assert done.returncode == 0, done.stderr
    model, client = "demo-credit-card-fraud", workspace.client
    (demo, *_) = workspace.runs("attributes.run_name = 'demo'")
    assert demo.data.metrics["lost"] == demo.data.metrics["refused"] == 0
    sample = pd.read_parquet(SAMPLE_FILE).drop_duplicates()
    assert demo.data.metrics["answered"] == demo.data.metrics["sent"] == np.ceil(len(sample) / 2)
    assert demo.data.tags["versions"] == "1, then 2"
    after, changed, before = monitoring_runs(workspace, model)
    verdicts = [
        (run.data.tags["drift_detected"], run.data.tags["performance_degraded"])
        for run in (before, changed, after)
    ]
    assert verdicts[:2] == [("false", "false"), ("true", "true")]
    assert verdicts[2][1] == "false"
    assert after.data.metrics["live_ks"] > changed.data.metrics["live_ks"] + 0.05
    for run in (before, changed, after):
        artifacts = {one.path for one in client.list_artifacts(run.info.run_id)}
        assert artifacts - {"evidence"} == {"drift.html", "plots"}
        assert Path(run.info.artifact_uri).is_relative_to(workspace.folder)
    version = client.get_model_version_by_alias(model, "champion")
    assert int(version.version) == 2
    assert version.tags["monitoring_run_id"] == changed.info.run_id
    assert "newer rows" in version.tags["decision"]

    # Traffic like the trigger's does not trigger another retraining.
    assert after.data.tags["drift_detected"] == "true"
    again = workspace.run(
        "monitor",
        model_name=model,
        log_uri=f"sqlite:///{folder}/predictions.db",
        retrain="auto",
    )
    assert again.returncode == 0, again.stderr
    assert "not retrained: already retrained for this" in again.stderr
    assert int(client.get_model_version_by_alias(model, "champion").version) == 2

    cleaned = workspace.run("demo", folder=str(folder), clean="true")
    assert cleaned.returncode == 0, cleaned.stderr
    assert not folder.exists()
    assert not client.search_registered_models(f"name = '{model}'")


def test_demo_keeps_foreign_folder(workspace, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    done = workspace.run_step("demo", folder=str(tmp_path), clean="true")
    assert done.returncode != 0
    assert "was not made by the demo" in done.stderr
    assert Path(tmp_path / "mine.txt").exists()
