"""Entry points that run as children of another."""

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
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from steps.candidates.queries import refitted_model_of
from steps.runtime.active_run import active_run
from steps.runtime.errors import StepError
from steps.runtime.live_line import working
from steps.runtime.logged_parameters import read_parameters
from steps.runtime.mlproject import ENGINE_PREFIX, PROJECT, entry_points
from steps.runtime.parameter_types import as_text
from steps.runtime.step_log import ARTIFACT, record_log, terminal_for_child
from steps.workflow import cache

logger = logging.getLogger("ml-pipes")

REUSED = "reused"


def run_step(
    entry_point: str,
    parameters: dict[str, Any],
    reuse: bool,
    still_valid: Callable[[Run], bool] = lambda _: True,
) -> str:
    """Run `entry_point` as a child of the active run; return its run id.

    The child runs in this process's environment, whichever manager made it.

    Args:
        entry_point: A name in `MLproject`.
        parameters: Values by name. Undeclared ones are left out; missing ones get the default.
        reuse: Return a finished run instead whose code, parameters and inputs are the same.
        still_valid: Check that the outside state a finished run depends on is unchanged.

    Raises:
        StepError: The step failed.
    """
    declared = entry_points()[entry_point]["parameters"]
    given = {
        name: as_text(parameters.get(name, declaration.get("default")))
        for name, declaration in declared.items()
    }
    key = cache.cache_key(entry_point, given)
    if reuse and (finished := cache.find(key)) and still_valid(finished):
        logger.info("%s: unchanged; reusing run %s", entry_point, finished.info.run_id)
        _note_reused(entry_point)
        return finished.info.run_id
    run_id = _run(entry_point, given)
    cache.remember(run_id, key)
    return run_id


def train(engine: str, parameters: dict[str, Any], reuse: bool) -> str:
    """Run the training step of `engine`; return its run id.

    Raises:
        StepError: The step failed.
    """
    return run_step(f"{ENGINE_PREFIX}{engine}", parameters, reuse)


def refit_candidate(candidate_run_id: str, reuse: bool) -> Run:
    """Run the training step of a candidate's engine again, to refit the candidate.

    The step gets the parameters of its search, so that it runs on the same cluster.

    Returns:
        The run of the refitted model.

    Raises:
        StepError: The step failed.
    """
    candidate = mlflow.get_run(candidate_run_id)
    search = mlflow.get_run(candidate.data.tags[MLFLOW_PARENT_RUN_ID])
    parameters = read_parameters(search) | {"refit_of": candidate_run_id}
    return refitted_model_of(train(candidate.data.tags["engine"], parameters, reuse))


def _run(entry_point: str, parameters: dict[str, str]) -> str:
    # MLflow runs the first `python` on the PATH.
    binaries = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != binaries:
        os.environ["PATH"] = os.pathsep.join([binaries, os.environ.get("PATH", "")])
    try:
        # MLflow creates a folder for each run and never removes it.
        with (
            tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder,
            working("starting", entry_point),
            terminal_for_child(),
        ):
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
    """Return the newest child of the active run that has this name."""
    parent = active_run()
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
    reason = run.data.tags.get("error", "")
    if record_log(run.info.run_id) and not reason:
        reason = f"it was killed; see the artifact {ARTIFACT} of run {run.info.run_id}"
    return StepError(entry_point, reason, run.info.run_id)


def _mark_killed(entry_point: str) -> None:
    """Mark the run of a step that was interrupted before it could mark it itself."""
    run = _newest_child(entry_point)
    if run and run.info.status in ("RUNNING", "FAILED") and "error" not in run.data.tags:
        mlflow.MlflowClient().set_terminated(run.info.run_id, "KILLED")


def _note_reused(entry_point: str) -> None:
    before = mlflow.get_run(active_run().info.run_id).data.tags.get(REUSED)
    mlflow.set_tag(REUSED, f"{before},{entry_point}" if before else entry_point)
