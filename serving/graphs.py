"""The model inside a portable scorer: an ONNX graph, or an H2O MOJO read through Java."""

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import ScorerError
from serving.java import use_java

ONNX_FILE = "model.onnx"
MOJO_FILE = "model.zip"
GENMODEL_JAR = "h2o-genmodel.jar"

Floats = npt.NDArray[np.float64]


class Graph(Protocol):
    """Anything that maps features to the raw probability of class 1."""

    def probability(self, matrix: Floats) -> Floats:
        """Return shape (n_rows,) for features of shape (n_rows, n_features)."""


def load_graph(kind: str, folder: Path, names: list[str]) -> Graph:
    """Load the graph of `kind` ("onnx" or "mojo") in `folder` for features called `names`.

    Raises:
        ScorerError: the kind is unknown or its files cannot be read.
    """
    if kind == "onnx":
        return OnnxGraph(folder / ONNX_FILE)
    if kind == "mojo":
        return MojoGraph(folder / MOJO_FILE, folder / GENMODEL_JAR, names)
    raise ScorerError(f"unknown kind of scorer {kind!r} in {folder}: update ml-pipes")


class OnnxGraph:
    """A float64 ONNX graph: input (n_rows, n_features), output of either of two names:
    `probabilities` of both classes, (n_rows, 2), or `log_odds` of class 1, (n_rows, 1).
    """

    def __init__(self, file: Path) -> None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it reports use to its maker
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # With more threads the order of sums, and so the last digit, depends on the batch.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own errors share no base but this one
            raise ScorerError(f"{file} cannot be read: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def probability(self, matrix: Floats) -> Floats:
        """Return shape (n_rows,) for features of shape (n_rows, n_features)."""
        values: Floats
        try:
            (values,) = self._session.run(None, {self._input: matrix})
        except Exception as error:  # as when it is read
            raise ScorerError(f"the graph cannot score: {error}") from error
        if self._output == "probabilities":
            return values[:, 1]
        # Not left to the graph: its last digit would depend on a row's place in the batch.
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-values[:, 0].copy()))


class MojoGraph:
    """An H2O MOJO, scored row by row in a small Java machine inside this process.

    Each MOJO is read with the genmodel jar that it was exported with, in a class loader of
    its own, so that models of several H2O versions can follow each other.
    """

    def __init__(self, file: Path, jar: Path, names: list[str]) -> None:
        if not (file.is_file() and jar.is_file()):
            raise ScorerError(f"{file.parent} lacks {MOJO_FILE} or {GENMODEL_JAR}")
        _start_java()
        import jpype

        java_file = jpype.JClass("java.io.File")
        urls = jpype.JArray(jpype.JClass("java.net.URL"))([java_file(str(jar)).toURI().toURL()])
        loader = jpype.JClass("java.net.URLClassLoader")(urls)
        thread = jpype.JClass("java.lang.Thread").currentThread()
        outer = thread.getContextClassLoader()
        thread.setContextClassLoader(loader)  # where genmodel looks for XGBoost's reader
        try:
            mojo = jpype.JClass("hex.genmodel.MojoModel", loader=loader)
            self._model: Any = mojo.load(str(file))
        except jpype.JException as error:
            raise ScorerError(f"{file} cannot be read: {error}") from error
        finally:
            thread.setContextClassLoader(outer)
        self._row_type = jpype.JArray(jpype.JDouble)
        self._java_error = jpype.JException
        inputs = [str(name) for name in self._model.getNames()][: self._model.nfeatures()]
        if unknown := sorted(set(inputs) - set(names)):
            raise ScorerError(f"{file} wants columns {unknown} that the manifest lacks")
        self._order = [names.index(name) for name in inputs]
        self._outputs = int(self._model.getPredsSize())

    def probability(self, matrix: Floats) -> Floats:
        """Return shape (n_rows,) for features of shape (n_rows, n_features)."""
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
    """Start this process's Java machine; it can be neither restarted nor configured later."""
    import jpype

    with _java_lock:
        if jpype.isJVMStarted():
            return
        use_java()
        jpype.startJVM(
            jpype.getDefaultJVMPath(),
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-Xrs",  # leave SIGTERM and SIGINT to the Python server
            convertStrings=False,
        )
