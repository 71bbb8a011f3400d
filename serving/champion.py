"""The registered champion: an MLflow pyfunc that logs each prediction before it answers.

MLflow runs this file when it loads the model ("models from code"), so that the artifact
holds no pickle. It logs only under a scoring server, such as `mlflow models serve`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from serving.invocation import invoke
from serving.prediction import ModelIdentity, Prediction
from serving.prediction_log import PredictionLog, logging_is_on
from serving.scorer import PortableScorer

SOURCE = "mlflow models serve"


class Champion(PythonModel):
    """Answers `prediction_id`, `score` and `label` for each row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the scorer and, under a scoring server, open the prediction log."""
        folder = Path(context.artifacts["scorer"])
        self._scorer = PortableScorer.load(folder)
        self._model = identify(folder)
        self._log: PredictionLog | None = None
        if is_served() and logging_is_on():
            self._log = PredictionLog()

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002, MLflow passes it by name
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score rows, and log them if served.

        Args:
            context: unused, MLflow's.
            model_input: the feature columns and optionally `id`, the caller's own keys.
            params: `request_id`, optional: the same id gets the same answer, logged once.

        Returns:
            One row for each of `model_input`: `prediction_id`, `score`, `label`.

        Raises:
            MlflowException: with a status that tells whose fault it is: 400 for rows that
                do not fit, 409 for a request id used with other rows, 503 if the
                predictions could not be logged.
        """
        return invoke(self._scorer, self._model, model_input, params, self._record)

    def _record(self, rows: list[Prediction], request_id: str | None) -> list[Prediction]:
        if self._log is None:
            return rows
        return self._log.record(rows, self._model, SOURCE, request_id)


def is_served() -> bool:
    """Tell whether a scoring server is loading this model.

    MLflow's in-serving flag does not tell: it is also set while an input example is logged
    and by `mlflow models predict`. Only a server imports its app module. The server that
    `spark_udf` starts for another environment does too, below a Spark Python worker.
    """
    server = "mlflow.pyfunc.scoring_server.app" in sys.modules
    return server and "PYTHON_WORKER_FACTORY_SECRET" not in os.environ


def identify(scorer: Path) -> ModelIdentity:
    """Return which model the scorer in an MLflow model's folder belongs to.

    MLflow notes name and version beside a model that it fetched from the registry.
    """
    model = next((folder for folder in scorer.parents if (folder / "MLmodel").is_file()), None)
    if model is None:
        return ModelIdentity(None, None, None)
    run_id = yaml.safe_load((model / "MLmodel").read_text()).get("run_id")
    meta = model / "registered_model_meta"
    registered = yaml.safe_load(meta.read_text()) if meta.is_file() else {}
    version = registered.get("model_version")
    return ModelIdentity(
        registered.get("model_name"), None if version is None else str(version), run_id
    )


set_model(Champion())
