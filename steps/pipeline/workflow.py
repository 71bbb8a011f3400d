"""Run one entry point of the project from another."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException

from steps.pipeline import cache
from steps.pipeline.errors import StepError
from steps.pipeline.parameters import ENGINE_PREFIX, PROJECT, entry_points

log = logging.getLogger("ml-pipes")

REUSED = "reused"


def run_step(
    entry_point: str,
    parameters: dict[str, Any],
    reuse: bool,
    still_valid: Callable[[Run], bool] = lambda _: True,
) -> str:
    """Run `entry_point` as a child of the active run, and return its run id.

    The child uses the environment that this process runs in, whichever manager made it.

    Args:
        entry_point: of `MLproject`.
        parameters: those that the entry point does not declare are left out, those that are
            missing have its defaults.
        reuse: return a finished run instead, if the step would come out the same.
        still_valid: tells of such a run whether the world outside is as it left it.

    Raises:
        StepError: it failed.
    """
    declared = entry_points()[entry_point]["parameters"]
    given = {
        name: str(parameters.get(name, declaration.get("default")))
        for name, declaration in declared.items()
    }
    key = cache.cache_key(entry_point, given)
    if reuse and (finished := cache.find(key)) and still_valid(finished):
        log.info("%s: nothing changed, run %s stands", entry_point, finished.info.run_id)
        _note_reused(entry_point)
        return finished.info.run_id
    run_id = _run(entry_point, given)
    cache.remember(run_id, key)
    return run_id


def train(engine: str, parameters: dict[str, Any], reuse: bool) -> str:
    """Run the training step of `engine` and return its run id.

    Raises:
        StepError: it failed.
    """
    return run_step(f"{ENGINE_PREFIX}{engine}", parameters, reuse)


def _run(entry_point: str, parameters: dict[str, str]) -> str:
    # MLflow's `python` is the first on the PATH; it must be this one.
    binaries = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != binaries:
        os.environ["PATH"] = os.pathsep.join([binaries, os.environ.get("PATH", "")])
    try:
        # MLflow makes a folder for each run and leaves it.
        with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
            submitted = mlflow.run(
                str(PROJECT),
                entry_point,
                parameters=parameters,
                env_manager="local",
                storage_dir=folder,
                run_name=entry_point,
            )
    except ExecutionException:
        raise _failure(entry_point) from None
    except KeyboardInterrupt:
        _mark_killed(entry_point)
        raise
    run_id: str = submitted.run_id
    return run_id


def _newest_child(entry_point: str) -> Run | None:
    """Return the run that the active one started last under this name."""
    parent = mlflow.active_run()
    assert parent is not None, "a workflow is a run"
    found = mlflow.search_runs(
        [parent.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and "
        f"attributes.run_name = '{entry_point}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
        output_format="list",
    )
    return found[0] if found else None


def _failure(entry_point: str) -> StepError:
    run = _newest_child(entry_point)
    if run is None:
        return StepError(entry_point)
    return StepError(entry_point, run.data.tags.get("error", ""), run.info.run_id)


def _mark_killed(entry_point: str) -> None:
    """Mark a step that was interrupted before it could do so itself."""
    run = _newest_child(entry_point)
    if run and run.info.status in ("RUNNING", "FAILED") and "error" not in run.data.tags:
        mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")


def _note_reused(entry_point: str) -> None:
    run = mlflow.active_run()
    assert run is not None, "a workflow is a run"
    before = mlflow.get_run(run.info.run_id).data.tags.get(REUSED)
    mlflow.set_tag(REUSED, f"{before},{entry_point}" if before else entry_point)
