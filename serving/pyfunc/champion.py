"""The registered champion: an MLflow pyfunc that logs each prediction before answering it.

MLflow runs this file when it loads the model ("models from code"), so the artifact holds no
pickle. Predictions are logged only under a scoring server, such as `mlflow models serve`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from serving.log.prediction_log import PredictionLog
from serving.model.mlflow_model import identify
from serving.model.prediction import Prediction
from serving.model.scorer import PortableScorer
from serving.pyfunc.invocation import check_index, invoke
from serving.settings import read_log_settings

SOURCE = "mlflow models serve"


class Champion(PythonModel):
    """Pyfunc that returns `prediction_id`, `score` and `label` for each row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the scorer and, under a scoring server, open the prediction log."""
        folder = Path(context.artifacts["scorer"])
        self._scorer = PortableScorer.load(folder)
        self._model = identify(folder)
        self._log: PredictionLog | None = None
        self._served = is_served()
        if self._served and read_log_settings().enabled:
            self._log = PredictionLog()

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002, MLflow passes it by name
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score rows, and log them if served.

        Args:
            context: unused, required by MLflow.
            model_input: the feature columns and optionally the id column with the caller's ids.
            params: optionally `request_id`: a request repeated with the same id gets the same
                answer and is logged once.

        Returns:
            One row for each of `model_input`: `prediction_id`, `score`, `label`.

        Raises:
            MlflowException: see `serving.pyfunc.invocation`.
        """
        if self._served:
            check_index(model_input)
        return invoke(self._scorer, self._model, model_input, params, self._record)

    def _record(self, rows: list[Prediction], request_id: str | None) -> list[Prediction]:
        if self._log is None:
            return rows
        return self._log.record(rows, self._model, SOURCE, request_id)


def is_served() -> bool:
    """Return whether a scoring server is loading this model.

    MLflow's in-serving flag does not distinguish this: it is also set by `mlflow models predict`
    and while an input example is logged. Only a server imports its app module. So does the server
    that `spark_udf` starts for another environment, below a Spark Python worker.
    """
    server = "mlflow.pyfunc.scoring_server.app" in sys.modules
    return server and "PYTHON_WORKER_FACTORY_SECRET" not in os.environ


set_model(Champion())
