"""The champion that benchmarks measure."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from benchmarks.serving_contenders import BIN, PROJECT, SEARCH_PATH

MODEL_NAME, ALIAS = "credit-card-fraud", "champion"
CHAMPION = f"models:/{MODEL_NAME}@{ALIAS}"
TRAINING = ("-P", "data=sample", "-P", "profile=quick", "-P", "engines=pycaret")


def find_or_train_champion(folder: Path) -> str:
    """Return the URI of the champion; if there is none, train it in a store in `folder`."""
    if not _has_champion():
        print(f"{MODEL_NAME} has no champion: training one on the sample", file=sys.stderr)
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        store = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PATH": SEARCH_PATH}
        subprocess.run(
            [BIN / "mlflow", "run", PROJECT, "--env-manager", "local", *TRAINING],
            cwd=folder,
            env=os.environ | store,
            check=True,
        )
    return CHAMPION


def _has_champion() -> bool:
    try:
        mlflow.MlflowClient().get_model_version_by_alias(MODEL_NAME, ALIAS)
    except MlflowException:
        return False
    return True
