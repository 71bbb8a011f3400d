"""Runtimes for the models in portable scorers: ONNX graphs and H2O MOJOs."""

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from serving.errors import ScorerError
from serving.model.features import Floats
from serving.model.java import use_java

ONNX_FILE = "model.onnx"
MOJO_FILE = "model.zip"
GENMODEL_JAR = "h2o-genmodel.jar"
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


class MojoRuntime:
    """An H2O MOJO, scored row by row in a Java virtual machine inside this process.

    Each MOJO is loaded with the genmodel jar of its own export in a separate class loader: models
    of several H2O versions can be loaded by one process.
    """

    def __init__(self, file: Path, jar: Path, names: list[str]) -> None:
        if not (file.is_file() and jar.is_file()):
            raise ScorerError(f"{file.parent}: {MOJO_FILE} or {GENMODEL_JAR} is missing")
        _start_java()
        import jpype

        java_file = jpype.JClass("java.io.File")
        urls = jpype.JArray(jpype.JClass("java.net.URL"))([java_file(str(jar)).toURI().toURL()])
        loader = jpype.JClass("java.net.URLClassLoader")(urls)
        thread = jpype.JClass("java.lang.Thread").currentThread()
        outer = thread.getContextClassLoader()
        thread.setContextClassLoader(loader)  # genmodel finds XGBoost's reader there
        try:
            mojo = jpype.JClass("hex.genmodel.MojoModel", loader=loader)
            self._model: Any = mojo.load(str(file))
        except jpype.JException as error:
            raise ScorerError(f"{file}: cannot be read: {error}") from error
        finally:
            thread.setContextClassLoader(outer)
        self._row_type = jpype.JArray(jpype.JDouble)
        self._java_error = jpype.JException
        inputs = [str(name) for name in self._model.getNames()][: self._model.nfeatures()]
        if unknown := sorted(set(inputs) - set(names)):
            raise ScorerError(f"{file}: needs columns {unknown}, which the manifest lacks")
        self._order = [names.index(name) for name in inputs]
        self._outputs = int(self._model.getPredsSize())

    def probability(self, matrix: Floats) -> Floats:
        """Return raw probabilities of class 1, shape (n_rows,), for shape (n_rows, n_features)."""
        rows = np.ascontiguousarray(matrix[:, self._order])
        outputs = self._row_type(self._outputs)  # class, probability of 0, probability of 1
        scores = np.empty(len(rows))
        try:
            for i, row in enumerate(rows):
                self._model.score0(self._row_type(row), outputs)
                scores[i] = outputs[2]
        except self._java_error as error:
            raise ScorerError(f"the MOJO cannot score: {error}") from error
        return scores


_java_lock = threading.Lock()


def _start_java() -> None:
    """Start the Java virtual machine of this process, which cannot be restarted or reconfigured."""
    import jpype

    with _java_lock:
        if jpype.isJVMStarted():
            return
        use_java()
        jpype.startJVM(
            jpype.getDefaultJVMPath(),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-Xrs",  # leaves SIGTERM and SIGINT to the Python server
            convertStrings=False,
        )
