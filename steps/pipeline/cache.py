"""Find a finished run of a step that would come out the same if it ran again.

It must agree in all that a step follows from: its code (the modules that it imports from this
project), its entry point, the lock of all libraries, its parameters, and its inputs. Inputs are
the table of `load_data`, known by its content, and runs, known by the same key as here.
"""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from steps.pipeline.parameters import PROJECT, entry_points
from steps.pipeline.sources import content_digest

KEY = "cache_key"
PACKAGES = ("steps", "serving")
# The champion ships all of `serving`, not only what the step imports.
SHIPS_SERVING = "select_champion"
# They change how a step comes to its result, not the result.
WITHOUT_EFFECT = ("cache",)
# They name runs, by comma.
RUNS = ("data_run_id", "training_run_ids", "refit_of")


def cache_key(entry_point: str, parameters: dict[str, Any]) -> str | None:
    """Return a digest of all that the step follows from; None if its data cannot tell.

    Args:
        entry_point: of `MLproject`.
        parameters: all values that it will be run with.
    """
    content: dict[str, Any] = {
        "entry_point": entry_points()[entry_point],
        "parameters": {
            name: _identity(str(value)) if name in RUNS else str(value)
            for name, value in parameters.items()
            if name not in WITHOUT_EFFECT
        },
        "code": {str(file.relative_to(PROJECT)): _digest(file) for file in code_of(entry_point)},
        "lock": _digest(PROJECT / "requirements.txt"),
    }
    if "data" in parameters:
        content["data"] = content_digest(parameters["data"])
        if content["data"] is None:
            return None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def remember(run_id: str, key: str | None) -> None:
    """Make the finished run of a step findable by `key`."""
    if key is not None:
        mlflow.MlflowClient().set_tag(run_id, KEY, key)


def find(key: str | None) -> Run | None:
    """Return the newest finished run with `key` whose artifacts are still there, or None."""
    run = mlflow.active_run()
    if key is None or run is None:
        return None
    found = mlflow.search_runs(
        [run.info.experiment_id],
        f"tags.{KEY} = '{key}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    return next((one for one in found if _is_whole(one)), None)


def code_of(entry_point: str) -> list[Path]:
    """Return the files of this project that an entry point imports, its own first."""
    found: dict[Path, None] = {}
    waiting = [f"steps.{entry_point}"]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found[file] = None
                waiting += _imports(file)
    if entry_point == SHIPS_SERVING:
        found |= dict.fromkeys(sorted((PROJECT / "serving").rglob("*.py")))
    return list(found)


def _identity(run_ids: str) -> list[str]:
    """Return what stands for the content of runs: two with one key came out the same."""
    client = mlflow.MlflowClient()
    identities = []
    for run_id in filter(None, run_ids.split(",")):
        try:
            tags, name = client.get_run(run_id).data.tags, ""
            if KEY not in tags and MLFLOW_PARENT_RUN_ID in tags:  # a candidate of a step
                name = tags.get("algorithm", "")
                tags = client.get_run(tags[MLFLOW_PARENT_RUN_ID]).data.tags
        except MlflowException:  # the step itself will say what is wrong
            tags, name = {}, ""
        identities.append(f"{tags[KEY]} {name}" if KEY in tags else run_id)
    return identities


def _files(module: str) -> list[Path]:
    """Return the files that `module`, or the attribute of a module, is read from."""
    path = PROJECT.joinpath(*module.split("."))
    packages = [parent / "__init__.py" for parent in path.parents if parent != PROJECT]
    possible = [path.with_suffix(".py"), path / "__init__.py", *packages]
    return [file for file in possible if file.is_relative_to(PROJECT) and file.is_file()]


def _imports(file: Path) -> list[str]:
    """Return the modules of this project that `file` imports, wherever in its code."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] in PACKAGES]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _is_whole(run: Run) -> bool:
    """Tell whether the artifacts of a run, or of all those below it, are still there."""
    client = mlflow.MlflowClient()
    below = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    if below:
        return all(_is_whole(one) for one in below)
    try:
        return bool(client.list_artifacts(run.info.run_id))
    except (MlflowException, OSError):
        return False
