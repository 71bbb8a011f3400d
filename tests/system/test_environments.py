"""`mlflow run` in environments made by its environment managers."""

import pytest

from tests.support.project import PROJECT
from tests.support.workspaces import Workspace


@pytest.mark.slow  # it installs two gigabytes
def test_workflow_runs_in_uv_environment(tmp_path):
    elsewhere = Workspace(tmp_path)
    done = elsewhere.mlflow(
        *("run", str(PROJECT), "--env-manager", "uv"),
        *("-P", "data=sample", "-P", "profile=quick", "-P", "engines=h2o"),
        MLFLOW_ENV_ROOT=str(tmp_path / "envs"),
    )
    assert done.returncode == 0, done.stderr
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    (environment,) = (tmp_path / "envs").glob("mlflow-*")
    assert (environment / "lib" / "python3.11" / "site-packages" / "h2o").is_dir()


def test_single_step_runs_alone(tmp_path):
    elsewhere = Workspace(tmp_path)
    done = elsewhere.run("load_data", data="sample")
    assert done.returncode == 0, done.stderr
    assert "14,690 rows kept, 19 duplicate rows dropped (share of class 1" in done.stderr
    assert "temporal split: training 8,814 rows (342 positive)" in done.stderr
