"""The same model served by BentoML, with its monitoring to a file (without fsync).

    SCORER=FOLDER bentoml serve bentoml_service:Fraud --port 5003

`benchmarks.serving` runs it in a separate environment without this project's packages.
"""

import os
from pathlib import Path

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Fraud:
    """Service that scores rows given as columns."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = Path(os.environ["SCORER"]) / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(model), options)
        self._input = self._session.get_inputs()[0].name

    @bentoml.api
    def predict(self, columns: dict[str, list[float]]) -> list[float]:
        """Return the score of each row, and log all features and scores."""
        matrix = np.ascontiguousarray(np.array(list(columns.values()), dtype=np.float64).T)
        (raw,) = self._session.run(None, {self._input: matrix})
        scores: list[float] = raw[:, -1].tolist()
        with bentoml.monitor("fraud") as monitor:
            for name, values in columns.items():
                monitor.log_batch(values, name=name, role="feature", data_type="numerical")
            monitor.log_batch(scores, name="score", role="prediction", data_type="numerical")
        return scores
