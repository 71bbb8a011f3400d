"""The demo's folder and its removal."""

import shutil
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from serving.model.mlflow_model import is_absent
from steps.demo_scenario.data import MODEL_NAME
from steps.runtime.errors import ParameterError

# Only folders that contain this file are ever removed.
MARKER_FILE = "made-by-ml-pipes-demo"


def create_folder(folder: Path) -> None:
    """Create the folder and mark it as the demo's."""
    folder.mkdir(parents=True)
    (folder / MARKER_FILE).touch()


def remove_earlier_demo(folder: Path) -> None:
    """Remove the folder and the registered model of an earlier demo; its runs are kept.

    Raises:
        ParameterError: the folder was not made by the demo.
    """
    if folder.exists():
        if not (folder / MARKER_FILE).is_file():
            raise ParameterError(
                f"folder: {folder} was not made by the demo; choose another folder"
            )
        shutil.rmtree(folder)
    try:
        mlflow.MlflowClient().delete_registered_model(MODEL_NAME)
    except MlflowException as error:
        if not is_absent(error):
            raise
