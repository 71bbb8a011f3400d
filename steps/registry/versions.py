"""Versions of a registered model: lookup by alias, and download."""

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.model.mlflow_model import MODEL_FILE, is_absent
from steps.runtime.errors import ParameterError, RegistryError

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"


def find_version(model_name: str, alias: str) -> ModelVersion | None:
    """Return the version with `alias`, or None if there is none."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(model_name, alias)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise


def find_champion(model_name: str) -> ModelVersion | None:
    """Return the version with the alias `champion`, or None if there is none."""
    return find_version(model_name, CHAMPION)


def get_champion(model_name: str) -> ModelVersion:
    """Return the version with the alias `champion`.

    Raises:
        RegistryError: the model has no champion.
    """
    version = find_champion(model_name)
    if version is None:
        command = f"mlflow run . -P model_name={shlex.quote(model_name)}"
        raise RegistryError(f"{model_name} has no champion: train one with `{command}`")
    return version


def check_name_is_free(model_name: str) -> None:
    """Check that the registry would accept a version of `model_name`.

    Raises:
        ParameterError: the name is that of a prompt, which MLflow keeps in the same registry.
    """
    try:
        prompt = mlflow.MlflowClient().get_prompt(model_name)
    except MlflowException:  # a registry without prompts
        return
    if prompt is not None:
        raise ParameterError(
            f"model_name: {model_name!r} is the name of a prompt in this registry; choose another"
        )


def champion_tags(model_name: str) -> dict[str, str]:
    """Return the tags by which a run records the champion; empty texts if there is none."""
    version = find_champion(model_name)
    number, run_id = (str(version.version), version.run_id) if version else ("", "")
    return {"champion_version": number, "champion_run_id": str(run_id)}


@contextmanager
def download_version(model_name: str, version: str) -> Iterator[Path]:
    """Yield the folder of a temporary local copy of a version.

    Raises:
        RegistryError: the version's artifacts cannot be read, or were deleted.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        uri = f"models:/{model_name}/{version}"
        try:
            path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"version {version} of {model_name} cannot be read, so nothing changed: {error}"
            ) from error
        if not (Path(path) / MODEL_FILE).is_file():  # MLflow finds nothing to download
            raise RegistryError(
                f"version {version} of {model_name} cannot be read, so nothing changed: its files "
                "were deleted; restore them, or delete this version from the registry"
            )
        yield Path(path)
