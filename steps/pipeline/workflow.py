"""Run one entry point of the project from another."""

import os
import sys
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.exceptions import ExecutionException

from steps.pipeline.errors import StepError
from steps.pipeline.parameters import ENGINE_PREFIX, PROJECT


def run_step(entry_point: str, parameters: dict[str, Any]) -> str:
    """Run `entry_point` as a child of the active run, and return its run id.

    The child uses the environment that this process runs in, whichever manager made it.

    Args:
        entry_point: of `MLproject`.
        parameters: those that the entry point does not declare are left out.

    Raises:
        StepError: it failed.
    """
    declared = yaml.safe_load((PROJECT / "MLproject").read_text())["entry_points"][entry_point]
    # MLflow's `python` is the first on the PATH; it must be this one.
    binaries = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != binaries:
        os.environ["PATH"] = os.pathsep.join([binaries, os.environ.get("PATH", "")])
    try:
        submitted = mlflow.run(
            str(PROJECT),
            entry_point,
            parameters={
                name: str(value)
                for name, value in parameters.items()
                if name in declared["parameters"]
            },
            env_manager="local",
            run_name=entry_point,
        )
    except ExecutionException:
        raise StepError(f"{entry_point} failed, its message stands above") from None
    run_id: str = submitted.run_id
    return run_id


def train(engine: str, parameters: dict[str, Any]) -> str:
    """Run the training step of `engine` and return its run id.

    Raises:
        StepError: it failed.
    """
    return run_step(f"{ENGINE_PREFIX}{engine}", parameters)
