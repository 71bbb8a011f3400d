"""The alias `challenger`: the last winner of a selection that was not promoted.

A service can score its requests with it in the shadow, and `monitor` compares it with the champion.
Its promotion, or that of another winner, removes the alias (see `steps.registry.champion_changes`).
"""

import mlflow
from mlflow.entities.model_registry import ModelVersion

from steps.registry.versions import CHALLENGER, find_version

# Tag of the run of a selection that registered the challenger, or of a monitoring that compared it.
CHALLENGER_VERSION = "challenger_version"


def find_challenger(model_name: str) -> ModelVersion | None:
    """Return the version with the alias `challenger`, or None if there is none."""
    return find_version(model_name, CHALLENGER)


def challenger_version(model_name: str) -> str | None:
    """Return the number of the challenger, or None if there is none."""
    challenger = find_challenger(model_name)
    return None if challenger is None else str(challenger.version)


def challenger_with_model(model_name: str, model_run_id: str) -> str | None:
    """Return the number of the challenger if its model comes from this run, else None."""
    challenger = find_challenger(model_name)
    if challenger is None or challenger.tags.get("model_run_id") != model_run_id:
        return None
    return str(challenger.version)


def register_as_challenger(
    model_uri: str, model_name: str, tags: dict[str, str], description: str
) -> str:
    """Register a version under the alias `challenger`, and return its number.

    If that fails half-way, the version is deleted.

    Args:
        model_uri: the logged model.
        model_name: the registered model.
        tags: tags of the version.
        description: its model card.
    """
    client = mlflow.MlflowClient()
    version = str(mlflow.register_model(model_uri, model_name, tags=tags).version)
    try:
        client.update_model_version(model_name, version, description)
        client.set_registered_model_alias(model_name, CHALLENGER, version)
    except BaseException:
        client.delete_model_version(model_name, version)
        raise
    return version


def withdraw_challenger(model_name: str) -> None:
    """Remove the alias `challenger`, if a version has it."""
    if find_challenger(model_name) is not None:
        mlflow.MlflowClient().delete_registered_model_alias(model_name, CHALLENGER)
