"""Runtime for H2O MOJOs, in a Java virtual machine inside this process."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import ScorerError
from serving.model.features import Floats
from serving.model.java import use_java

MOJO_FILE = "model.zip"
GENMODEL_JAR = "h2o-genmodel.jar"
# Values of a call to Java: its heap is small, and many threads may call at once.
VALUES_PER_CALL = 2**15


class MojoRuntime:
    """An H2O MOJO.

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
            model_class = jpype.JClass("hex.genmodel.MojoModel", loader=loader)
            model = model_class.load(str(file))
        except jpype.JException as error:
            raise ScorerError(f"{file}: cannot be read: {error}") from error
        finally:
            thread.setContextClassLoader(outer)
        self._array = jpype.JArray
        self._java_error = jpype.JException
        inputs = [str(name) for name in model.getNames()][: model.nfeatures()]
        if unknown := sorted(set(inputs) - set(names)):
            raise ScorerError(f"{file}: needs columns {unknown}, which the manifest lacks")
        self._order = [names.index(name) for name in inputs]
        self._n_outputs = int(model.getPredsSize())
        self._score_rows = _loop_over_rows(model_class, model)

    def probability(self, matrix: Floats) -> Floats:
        """Return raw probabilities of class 1, shape (n_rows,), for shape (n_rows, n_features)."""
        scores = np.empty(len(matrix))
        step = max(1, VALUES_PER_CALL // (len(self._order) + self._n_outputs))
        try:
            for start in range(0, len(matrix), step):
                rows = np.ascontiguousarray(matrix[start : start + step, self._order])
                # Of each row: class, probability of 0, probability of 1.
                outputs = self._array.of(np.zeros((len(rows), self._n_outputs)))
                self._score_rows(self._array.of(rows), outputs)
                scores[start : start + step] = np.asarray(memoryview(outputs))[:, 2]
        except self._java_error as error:
            raise ScorerError(f"the MOJO cannot score: {error}") from error
        return scores


def _loop_over_rows(model_class: Any, model: Any) -> Any:
    """Return a function of rows and outputs, both `double[][]`, in which Java scores each row.

    MOJOs score single rows, and a call from Python takes longer than the scores of a small model.
    The loop is put together from method handles because its class cannot be compiled: the Java
    that is installed may have no compiler.
    """
    from jpype import JArray, JClass, JDouble, JInt

    handles = JClass("java.lang.invoke.MethodHandles")
    type_of = JClass("java.lang.invoke.MethodType").methodType
    integer, void = JClass("java.lang.Integer").TYPE, JClass("java.lang.Void").TYPE
    row, rows = JArray(JDouble).class_, JArray(JDouble, 2).class_
    score = handles.publicLookup().findVirtual(model_class, "score0", type_of(row, row, row))
    at = handles.arrayElementGetter(rows)
    # First with an index of rows and one of outputs, then with the same index for both.
    body = handles.collectArguments(score.bindTo(model), 0, at)
    body = handles.collectArguments(body, 2, at).asType(type_of(void, rows, integer, rows, integer))
    arguments = type_of(void, integer, rows, rows)
    body = handles.permuteArguments(body, arguments, JArray(JInt)([1, 0, 2, 0]))
    count = handles.dropArguments(handles.arrayLength(rows), 1, rows)
    return handles.countedLoop(count, None, body).invokeWithArguments


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
