"""Runtimes for the models in portable scorers: ONNX graphs and H2O MOJOs."""

import os
from pathlib import Path
from typing import Protocol

import numpy as np

from serving.errors import ScorerError
from serving.model.features import Floats
from serving.model.mojo import GENMODEL_JAR, MOJO_FILE, MojoRuntime

ONNX_FILE = "model.onnx"
KINDS = ("onnx", "mojo")
# Of which numpy's exponential is finite.
LARGEST_EXPONENT = 709.0


class Runtime(Protocol):
    """A loaded model."""

    def probability(self, matrix: Floats) -> Floats:
        """Return raw probabilities of class 1, shape (n_rows,), for shape (n_rows, n_features)."""


def load_runtime(kind: str, folder: Path, names: list[str]) -> Runtime:
    """Load the model of `kind`, one of KINDS, in `folder` for features called `names`.

    Raises:
        ScorerError: the kind is unknown, or its files cannot be read.
    """
    if kind == "onnx":
        return OnnxRuntime(folder / ONNX_FILE)
    if kind == "mojo":
        return MojoRuntime(folder / MOJO_FILE, folder / GENMODEL_JAR, names)
    raise ScorerError(f"{folder}: scorer kind {kind!r} is unknown: update ml-pipes")


class OnnxRuntime:
    """A float64 ONNX graph with input of shape (n_rows, n_features).

    Its output is either `probabilities` of both classes, shape (n_rows, 2), or `log_odds` of
    class 1, shape (n_rows, 1).
    """

    def __init__(self, file: Path) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # sent to its vendor
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # With more threads, the order of summation and the last digit depend on the batch.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no other common base
            raise ScorerError(f"{file}: cannot be read: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def probability(self, matrix: Floats) -> Floats:
        """Return raw probabilities of class 1, shape (n_rows,), for shape (n_rows, n_features)."""
        values: Floats
        try:
            (values,) = self._session.run(None, {self._input: matrix})
        except Exception as error:  # onnxruntime's errors have no other common base
            raise ScorerError(f"the ONNX graph cannot score: {error}") from error
        if self._output == "probabilities":
            return values[:, 1]
        # In the graph, the last digit would depend on the position of a row in the batch.
        return 1.0 / (1.0 + np.exp(np.minimum(-values[:, 0].copy(), LARGEST_EXPONENT)))
