"""The folder through which a Spark session exchanges splits and models with this machine."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path, is_local_uri
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from steps.runtime.spark_session import cause_of, not_shared, workers_see

logger = logging.getLogger("ml-pipes")

# Among the artifacts of a run, as long as it trains.
FOLDER = "spark_files"
LOCAL = "file://"


class SharedFolder:
    """A folder that Spark's workers can read and write.

    Attributes:
        spark: The session.
        uri: The folder, as Spark reads it.
    """

    def __init__(self, spark: SparkSession, uri: str, *, sees_files: bool) -> None:
        """Use a folder.

        Args:
            spark: The session.
            uri: The folder, as Spark reads it.
            sees_files: Whether the workers see the files of splits, too; else they get copies.
        """
        self.spark = spark
        self.uri = uri
        context: Any = spark.sparkContext
        self._jvm = context._jvm
        self._path = self._jvm.org.apache.hadoop.fs.Path(uri)
        self._file_system = self._path.getFileSystem(context._jsc.hadoopConfiguration())
        self._sees_files = sees_files
        self._copied: set[Path] = set()
        self._numbers = count(1)

    @property
    def model_folder(self) -> str | None:
        """The `dfs_tmpdir` of MLflow, which needs none where Spark writes artifacts itself."""
        return self.uri.removeprefix(LOCAL) if self.uri.startswith(LOCAL) else None

    def uri_of(self, file: Path) -> str:
        """Return the URI of a file of this machine, which is copied once if need be."""
        if self._sees_files:
            return local_uri(file)
        if file not in self._copied:
            source = self._jvm.org.apache.hadoop.fs.Path(local_uri(file))
            self._file_system.copyFromLocalFile(False, True, source, self._path_of(file.name))
            self._copied.add(file)
        return f"{self.uri}/{file.name}"

    def new_uri(self) -> str:
        """Return a URI in the folder that is not in use."""
        return f"{self.uri}/{next(self._numbers)}"

    def remove(self) -> None:
        """Remove the folder."""
        self._file_system.delete(self._path, True)

    def _path_of(self, name: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(self._path, name)


@contextmanager
def shared_folder(spark: SparkSession, master: str) -> Iterator[SharedFolder]:
    """Provide a folder that this machine and all workers share; remove it on exit.

    It is a temporary folder, or, if the workers do not see that, one among the artifacts of the
    active run.

    Raises:
        EngineError: The workers can use neither.
    """
    if master.startswith("local[") or workers_see(spark, master, tempfile.gettempdir()):
        with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
            yield SharedFolder(spark, local_uri(Path(temporary)), sees_files=True)
        return
    uri = append_to_uri_path(mlflow.get_artifact_uri(), FOLDER)
    if is_local_uri(uri):
        uri = local_uri(Path(local_file_uri_to_path(uri)).absolute())
    if problem := _problem(spark, master, uri):
        raise not_shared(
            master, f", or keep the artifacts of runs where they can read and write: {problem}"
        )
    logger.info("the workers of %s read the splits from %s", master, uri)
    folder = SharedFolder(spark, uri, sees_files=False)
    try:
        yield folder
    finally:
        try:
            folder.remove()
        except Py4JError as error:
            logger.warning("files may be left in %s: %s", uri, cause_of(error))


def _problem(spark: SparkSession, master: str, uri: str) -> str:
    """Return why the workers cannot use a folder; empty if they can."""
    if uri.startswith(LOCAL):
        folder = Path(uri.removeprefix(LOCAL))
        folder.mkdir(parents=True, exist_ok=True)
        if workers_see(spark, master, str(folder)):
            return ""
        folder.rmdir()
        return f"they do not see {folder.parent}"
    try:
        spark.range(1).write.parquet(f"{uri}/probe")
        spark.read.parquet(f"{uri}/probe").collect()
    except (Py4JError, PySparkException) as error:
        return f"Spark cannot use {uri}: {cause_of(error)}"
    return ""


def local_uri(path: Path) -> str:
    """Return the URI of a file of this machine, as Spark reads it."""
    # Not Path.as_uri: Spark takes percent-encoded characters for themselves.
    return f"{LOCAL}{path}"
