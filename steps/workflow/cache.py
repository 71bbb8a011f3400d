"""The step cache: finished runs that are reused instead of running a step again.

The key of a run is a digest of everything that determines the step's result: its code (the modules
of this project that it imports), its entry point, the lock of all packages, its parameters, and its
inputs. An input is the table of `load_data`, identified by its content, or an earlier run,
identified by its own key.
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

from steps.loading.sources import content_digest
from steps.runtime.mlproject import PROJECT, entry_points, module_of

KEY = "cache_key"
# Tag of a run whose result is not reproducible, with the reason.
UNREPEATABLE = "unrepeatable"
PACKAGES = ("steps", "serving")
# The champion ships all of `serving`, not only what the step imports.
SHIPS_SERVING = "select_champion"
# Parameters that do not change the result of a step.
WITHOUT_EFFECT = ("cache",)
# Parameters whose values are run ids, separated by commas.
RUNS = ("data_run_id", "training_run_ids", "refit_of")


def cache_key(entry_point: str, parameters: dict[str, Any]) -> str | None:
    """Return a digest of everything that determines a step's result.

    None if the content of its data has no digest, as with databases.

    Args:
        entry_point: a name in `MLproject`.
        parameters: all of its parameters, by name.
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


def mark_unrepeatable(reason: str) -> None:
    """Exclude the active run from reuse, because its result is not reproducible."""
    mlflow.set_tag(UNREPEATABLE, reason)


def remember(run_id: str, key: str | None) -> None:
    """Tag the finished run of a step with its key, unless it is excluded from reuse."""
    client = mlflow.MlflowClient()
    if key is not None and UNREPEATABLE not in client.get_run(run_id).data.tags:
        client.set_tag(run_id, KEY, key)


def find(key: str | None) -> Run | None:
    """Return the newest finished run with `key` whose artifacts still exist, or None.

    All experiments are searched: the result of a step does not depend on the name of its own.
    """
    if key is None:
        return None
    found = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.{KEY} = '{key}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )
    return next((run for run in found if _has_artifacts(run)), None)


def code_of(entry_point: str) -> list[Path]:
    """Return the files of this project that an entry point imports, its own module first."""
    found: dict[Path, None] = {}
    waiting = [module_of(entry_point)]
    while waiting:
        for file in _files(waiting.pop()):
            if file not in found:
                found[file] = None
                waiting += _imports(file) if file.suffix == ".py" else []
    if entry_point == SHIPS_SERVING:
        found |= dict.fromkeys(sorted((PROJECT / "serving").rglob("*.py")))
    return list(found)


def _identity(run_ids: str) -> list[str]:
    """Return an identifier of the result of each run: the key of its step, else its run id."""
    client = mlflow.MlflowClient()
    identities = []
    for run_id in filter(None, run_ids.split(",")):
        try:
            tags, name = client.get_run(run_id).data.tags, ""
            if KEY not in tags and MLFLOW_PARENT_RUN_ID in tags:  # a candidate
                name = tags.get("algorithm", "")
                tags = client.get_run(tags[MLFLOW_PARENT_RUN_ID]).data.tags
        except MlflowException:  # reported by the step itself
            tags, name = {}, ""
        identities.append(f"{tags[KEY]} {name}" if KEY in tags else run_id)
    return identities


def _files(module: str) -> list[Path]:
    """Return the files that the import of `module`, or of an attribute of a module, reads.

    A template has the name of the module that renders it.
    """
    path = PROJECT.joinpath(*module.split("."))
    packages = [parent / "__init__.py" for parent in path.parents if parent != PROJECT]
    own = [path.with_suffix(suffix) for suffix in (".py", ".html")]
    possible = [*own, path / "__init__.py", *packages]
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


def _has_artifacts(run: Run) -> bool:
    """Return whether the artifacts of a run, or of all its child runs, still exist."""
    client = mlflow.MlflowClient()
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    if children:
        return all(_has_artifacts(child) for child in children)
    try:
        return bool(client.list_artifacts(run.info.run_id))
    except (MlflowException, OSError):
        return False
