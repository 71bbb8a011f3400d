"""`mlflow run` in environments that it makes itself."""

import pytest

from tests.conftest import PROJECT, Workspace


@pytest.mark.slow  # it installs two gigabytes
def test_the_workflow_runs_in_an_environment_made_by_uv(tmp_path):
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


def test_a_step_runs_alone(tmp_path):
    elsewhere = Workspace(tmp_path)
    done = elsewhere.run("load_data", data="sample")
    assert done.returncode == 0, done.stderr
    assert "14,690 rows kept, 19 repeated rows dropped; temporal split" in done.stderr
