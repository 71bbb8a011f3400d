"""Parameters of runs in MLflow."""

import shlex

import mlflow
import pytest

from steps.runtime.logged_parameters import log_long_parameters, read_parameters

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("empty_registry")]


@pytest.mark.parametrize("names", ["", "a b", "it's", ",".join(f"column {i}" for i in range(900))])
def test_parameters_are_read_as_they_were_given(names):
    given = {"numeric": names, "data": "sample"}
    with mlflow.start_run() as run:
        # As `mlflow run` does, which cuts long values.
        mlflow.log_params({name: shlex.quote(value) for name, value in given.items()})
        log_long_parameters([word for name in given for word in (f"--{name}", given[name])])
    assert read_parameters(mlflow.get_run(run.info.run_id)) == given
