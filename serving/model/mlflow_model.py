"""Champions as MLflow models: artifact paths, identity, and registry errors."""

from pathlib import Path
from typing import Any

import yaml
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from serving.model.prediction import ModelIdentity

# MLflow stores the artifact "scorer" of a pyfunc here.
SCORER_IN_MODEL = Path("artifacts", "scorer")
MODEL_FILE = "MLmodel"
# MLflow writes name and version of a model fetched from the registry to this file.
REGISTERED_FILE = "registered_model_meta"


def run_id_of(model: Path) -> str | None:
    """Return the id of the run that logged the MLflow model in the folder `model`."""
    run_id: str | None = _read_yaml(model / MODEL_FILE).get("run_id")
    return run_id


def identify(scorer: Path) -> ModelIdentity:
    """Return the identity of the MLflow model that contains the folder `scorer`."""
    model = next((folder for folder in scorer.parents if (folder / MODEL_FILE).is_file()), None)
    if model is None:
        return ModelIdentity(None, None, None)
    registered = model / REGISTERED_FILE
    meta = _read_yaml(registered) if registered.is_file() else {}
    version = meta.get("model_version")
    return ModelIdentity(
        meta.get("model_name"), None if version is None else str(version), run_id_of(model)
    )


def is_absent(error: MlflowException) -> bool:
    """Return whether the registry has no such model, version or alias.

    MLflow reports an absent alias as an invalid parameter.
    """
    absent = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")
    return error.error_code in absent


def _read_yaml(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content
