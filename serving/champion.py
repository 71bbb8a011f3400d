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
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_CONFLICT,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from serving.errors import (
    InputError,
    LogUnavailableError,
    RequestConflictError,
    ServingError,
)
from serving.prediction import (
    ModelIdentity,
    Prediction,
    check_key,
    feature_rows,
    prediction_ids,
)
from serving.prediction_log import PredictionLog
from serving.scorer import PortableScorer

SOURCE = "mlflow models serve"
LARGEST_EXACT = 2**53


class Champion(PythonModel):
    """Answers `prediction_id`, `score` and `label` for each row."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the scorer and, under a scoring server, open the prediction log."""
        folder = Path(context.artifacts["scorer"])
        self._scorer = PortableScorer.load(folder)
        self._model = identify(folder)
        self._log: PredictionLog | None = None
        if is_served() and os.environ.get("PREDICTION_LOG", "").lower() != "off":
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
        request_id = (params or {}).get("request_id") or None
        try:
            if request_id is not None:
                check_key("request_id", request_id)
            rows = self._predictions(model_input, request_id)
            if self._log:
                rows = self._log.record(rows, self._model, SOURCE, request_id)
        except ServingError as error:
            raise MlflowException(str(error), error_code=_code(error)) from None
        columns = ("prediction_id", "score", "label")
        return pd.DataFrame(
            {name: [getattr(row, name) for row in rows] for name in columns},
            index=model_input.index,
        )

    def _predictions(self, frame: pd.DataFrame, request_id: str | None) -> list[Prediction]:
        scorer, threshold = self._scorer, self._scorer.manifest.threshold
        matrix = scorer.matrix(frame)
        scores = scorer.score_matrix(matrix).tolist()
        ids = prediction_ids(len(frame), request_id, self._model.name)
        keys = frame["id"] if "id" in frame.columns else [None] * len(frame)
        return [
            Prediction(
                prediction_id=prediction_id,
                row_index=i,
                entity_id=entity_id(key, i),
                score=score,
                label=int(score >= threshold),
                threshold=threshold,
                features=features,
            )
            for i, (prediction_id, key, score, features) in enumerate(
                zip(ids, keys, scores, feature_rows(scorer.names, matrix), strict=True)
            )
        ]


def is_served() -> bool:
    """Tell whether a scoring server is loading this model.

    MLflow's in-serving flag does not tell: it is also set while an input example is logged
    and by `mlflow models predict`. Only a server imports its app module. The server that
    `spark_udf` starts for another environment does too, below a Spark Python worker.
    """
    server = "mlflow.pyfunc.scoring_server.app" in sys.modules
    return server and "PYTHON_WORKER_FACTORY_SECRET" not in os.environ


def entity_id(key: Any, row: int) -> str | None:
    """Return the caller's key of a row as text; a column of integers with a gap comes as floats.

    Raises:
        InputError: it is too long, or a number that a float no longer holds exactly.
    """
    if pd.isna(key):
        return None
    if isinstance(key, float) and key.is_integer():
        if abs(key) >= LARGEST_EXACT:
            raise InputError(f"column id, row {row}: too large for a number, send it as a string")
        key = int(key)
    check_key(f"column id, row {row}", str(key))
    return str(key)


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


def _code(error: ServingError) -> int:
    if isinstance(error, InputError):
        return INVALID_PARAMETER_VALUE
    if isinstance(error, RequestConflictError):
        return RESOURCE_CONFLICT
    if isinstance(error, LogUnavailableError):
        return TEMPORARILY_UNAVAILABLE
    return INTERNAL_ERROR


set_model(Champion())
