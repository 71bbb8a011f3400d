"""A Spark session that leaves nothing behind, and says in one line what is wrong."""

import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pyspark
from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from serving.java import use_java
from steps.pipeline.errors import EngineError

CONNECT_SECONDS = 10
EXECUTOR_SECONDS = 60


@contextmanager
def spark_session(master: str, settings: dict[str, Any]) -> Iterator[SparkSession]:
    """Start a Spark session and end it, its Java process included.

    Args:
        master: local[*], spark://HOST:PORT, or whatever else Spark takes.
        settings: more of Spark's settings.

    Raises:
        EngineError: there is no Spark at `master`, or it ends or fails.
    """
    _look_for_master(master)
    use_java()
    with tempfile.TemporaryDirectory(prefix="ml-pipes-spark-") as folder:
        builder = (
            SparkSession.builder.master(master)
            .appName("ml-pipes")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.memory", "3g")
            .config("spark.local.dir", folder)
            .config("spark.sql.warehouse.dir", f"{folder}/warehouse")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        )
        for name, value in settings.items():
            builder = builder.config(name, value)
        if master.startswith("local"):  # a cluster's executors must reach the driver
            builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config(
                "spark.driver.host", "127.0.0.1"
            )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            spark = builder.getOrCreate()
        except (Py4JError, RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"spark_master: no Spark at {master}: {reason}") from error
        except KeyboardInterrupt:
            _end_half_started_java()
            raise
        signal.signal(signal.SIGINT, on_interrupt)  # PySpark has set its own
        spark.sparkContext.setLogLevel("ERROR")
        gateway: Any = spark.sparkContext._gateway
        try:
            if not master.startswith("local["):
                _look_at_workers(spark, master)
            yield spark
        except (Py4JError, PySparkException, OSError) as error:
            if gateway.proc.poll() is not None:
                _forget_session()
                raise EngineError("Spark's Java process ended while it worked") from None
            if isinstance(error, OSError):
                raise
            # Its text is in Java, which is gone when this is read.
            raise EngineError(f"Spark failed: {cause_of(error)}") from None
        finally:
            if gateway.proc.poll() is None:
                spark.stop()
                gateway.shutdown()
                gateway.proc.stdin.close()  # the Java process ends with its standard input
                gateway.proc.wait(timeout=30)
            # A next session in this process must not look for this Java.
            SparkContext._gateway = SparkContext._jvm = None


def _look_for_master(master: str) -> None:
    """Look whether a standalone master answers: Spark itself would try for a minute."""
    if not master.startswith("spark://"):
        return
    # Several masters stand by for each other: spark://one:7077,two:7077
    for place in master.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        with suppress(OSError, ValueError, OverflowError):
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            return
    raise EngineError(f"spark_master: no Spark answers at {master}; it must be spark://HOST:PORT")


def _look_at_workers(spark: SparkSession, master: str) -> None:
    """Run first jobs: do the workers run our versions, and see what this machine writes?

    Spark's own way of saving models, and MLflow's, goes through files that all of them see.

    Raises:
        EngineError: they do not, or there is none for us.
    """
    needed = f"Spark {pyspark.__version__} with Python {sys.version_info[0]}.{sys.version_info[1]}"
    context = spark.sparkContext
    seen: list[bool] = []
    looked_at = 0
    with tempfile.NamedTemporaryFile(prefix="ml-pipes-") as file:
        name = file.name

        def sees(_: Iterable[int]) -> Iterable[bool]:  # runs where this project is not
            from pathlib import Path

            yield Path(name).exists()

        try:
            # Idle executors get a task each. They come one by one, and all shall be looked at.
            while looked_at < (tasks := max(_executors(context), 1)):
                with _given_an_executor(context, master):
                    seen += context.parallelize(range(tasks), tasks).mapPartitions(sees).collect()
                looked_at = tasks
        except (Py4JError, PySparkException) as error:
            raise EngineError(
                f"spark_master: a first job on {master} failed; its workers must run {needed}: "
                f"{cause_of(error)}"
            ) from None
    if not all(seen):
        raise EngineError(
            f"spark_master: the workers of {master} do not see {tempfile.gettempdir()}: set TMPDIR "
            "to a folder that this machine shares with all of them"
        )


def _executors(context: SparkContext) -> int:
    """Return how many executors the cluster gave us; Spark counts the driver among them."""
    java: Any = context._jsc
    executors: int = java.sc().getExecutorMemoryStatus().size() - 1
    return executors


@contextmanager
def _given_an_executor(context: SparkContext, master: str) -> Iterator[None]:
    """End the job within if no executor comes in time: Spark itself would wait for ever.

    Raises:
        EngineError: none came.
    """
    over, none_came = threading.Event(), threading.Event()

    def look() -> None:
        while not over.wait(EXECUTOR_SECONDS):  # again, if the job had not begun yet
            if not _executors(context):
                none_came.set()
                context.cancelAllJobs()

    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    except Py4JError:
        if not none_came.is_set():
            raise
        memory = context.getConf().get("spark.executor.memory", "1g")
        raise EngineError(
            f"spark_master: no worker of {master} had a free core and {memory} of memory within "
            f"{EXECUTOR_SECONDS} seconds: add workers, wait until other applications end, or lower "
            "spark.executor.memory in spark-defaults.conf; its workers must reach this machine"
        ) from None
    finally:
        over.set()


def _end_half_started_java() -> None:
    """End a Java process that does not know yet that it shall end with this one."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "pyspark-shell" in child.cmdline():
                child.kill()


def _forget_session() -> None:
    """Drop a session whose Java is gone: it cannot be stopped, and MLflow would ask it for tags."""
    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def cause_of(error: Exception) -> str:
    """Return the innermost cause that Python on a worker, or else Java, named, in one line."""
    lines = str(error).strip().splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    first = [line.removeprefix(": ") for line in lines if line.startswith(": ")]
    return (_raised_in_python(str(error)) or causes[-1:] or first or lines)[0].strip()


def _raised_in_python(text: str) -> list[str]:
    """Return what stands below the frames of the last Python traceback in `text`, if any."""
    _, found, below = text.rpartition("Traceback (most recent call last):\n")
    # The frames are indented; the exception that they lead to is not.
    return [line for line in below.splitlines() if not line.startswith(" ")] if found else []
