"""Spark sessions: start, checks of the cluster, errors in one line, and a complete stop."""

import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyspark
from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from serving.errors import one_line
from serving.model.java import use_java
from steps.runtime.errors import EngineError

# For the step's log; errors are also raised in Python.
LOG_SETTINGS = """
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer
logger.gateway.level = warn
"""
END_SECONDS = 1
CONNECT_SECONDS = 10
EXECUTOR_SECONDS = 60


@contextmanager
def spark_session(
    master: str, settings: dict[str, Any], *, shares_files: bool = True
) -> Iterator[SparkSession]:
    """Provide a Spark session; stop it and its Java process on exit.

    Args:
        master: A Spark master URL, such as local[*] or spark://HOST:PORT.
        settings: Additional Spark settings.
        shares_files: Whether the workers must see this machine's temporary folder; if not, the
            caller is the first to call `workers_see`.

    Raises:
        EngineError: Spark cannot be reached or started, fails, or ends early; or its workers do
            not see the temporary folder.
    """
    _check_master(master)
    use_java()
    with tempfile.TemporaryDirectory(prefix="ml-pipes-spark-") as folder:
        spark = _start(master, settings, folder)
        gateway: Any = spark.sparkContext._gateway
        try:
            needs_check = shares_files and not master.startswith("local[")
            if needs_check and not workers_see(spark, master, tempfile.gettempdir()):
                raise not_shared(master)
            yield spark
        except (Py4JError, PySparkException, OSError) as error:
            if _has_ended(gateway):
                _forget_session()
                raise EngineError("Spark's Java process exited unexpectedly") from None
            if isinstance(error, OSError):
                raise
            # The cause is read from Java, which the exit of this context ends.
            raise EngineError(f"Spark failed: {cause_of(error)}") from None
        finally:
            if gateway.proc.poll() is None:
                spark.stop()
                gateway.shutdown()
                gateway.proc.stdin.close()  # the Java process ends with its standard input
                gateway.proc.wait(timeout=30)
            # The next session of this process must start a Java process of its own.
            SparkContext._gateway = SparkContext._jvm = None


def _start(master: str, settings: dict[str, Any], folder: str) -> SparkSession:
    """Start a session whose temporary files are in `folder`.

    Raises:
        EngineError: It does not start.
    """
    log_settings = Path(folder, "log4j2.properties")
    log_settings.write_text(LOG_SETTINGS)
    builder = (
        SparkSession.builder.master(master)
        .appName("ml-pipes")
        .config(
            "spark.driver.defaultJavaOptions",
            f"-Dlog4j2.configurationFile={log_settings.as_uri()}",
        )
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
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
        raise EngineError(f"spark_master: no Spark at {master}: {one_line(error)}") from error
    except KeyboardInterrupt:
        _kill_starting_java()
        raise
    signal.signal(signal.SIGINT, on_interrupt)  # PySpark has replaced it
    return spark


def _check_master(master: str) -> None:
    """Connect to a standalone master, for which Spark itself would retry for a minute.

    Raises:
        EngineError: No master answers.
    """
    if not master.startswith("spark://"):
        return
    # The URL may name standby masters: spark://one:7077,two:7077
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        with suppress(OSError, ValueError, OverflowError):
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            return
    raise EngineError(f"spark_master: no Spark answers at {master}; it must be spark://HOST:PORT")


def workers_see(spark: SparkSession, master: str, folder: str) -> bool:
    """Return whether all workers see the files that this machine writes into `folder`.

    The job that finds out also checks the versions of the workers.

    Raises:
        EngineError: The job failed, or no worker is available.
    """
    needed = f"Spark {pyspark.__version__} with Python {sys.version_info[0]}.{sys.version_info[1]}"
    context = spark.sparkContext
    visible: list[bool] = []
    checked = 0
    with tempfile.NamedTemporaryFile(prefix="ml-pipes-", dir=folder) as file:
        name = file.name

        def sees(_: Iterable[int]) -> Iterable[bool]:  # runs on workers, without this project
            from pathlib import Path

            yield Path(name).exists()

        try:
            # Each idle executor gets a task. Executors register one by one: repeat for all.
            while checked < (tasks := max(_executors(context), 1)):
                with _executor_deadline(context, master):
                    visible += (
                        context.parallelize(range(tasks), tasks).mapPartitions(sees).collect()
                    )
                checked = tasks
        except (Py4JError, PySparkException) as error:
            raise EngineError(
                f"spark_master: a first job on {master} failed; its workers must run {needed}: "
                f"{cause_of(error)}"
            ) from None
    return all(visible)


def not_shared(master: str, alternative: str = "") -> EngineError:
    """Return the error for workers that do not see this machine's temporary folder."""
    return EngineError(
        f"spark_master: the workers of {master} do not see {tempfile.gettempdir()}: set TMPDIR "
        f"to a folder that this machine shares with all of them{alternative}"
    )


def _executors(context: SparkContext) -> int:
    """Return the number of executors of this application."""
    java: Any = context._jsc
    executors: int = java.sc().getExecutorMemoryStatus().size() - 1  # without the driver
    return executors


@contextmanager
def _executor_deadline(context: SparkContext, master: str) -> Iterator[None]:
    """Cancel the job within if no executor registers in time; Spark itself would wait forever.

    Raises:
        EngineError: No executor registered.
    """
    done, none_came = threading.Event(), threading.Event()

    def cancel_without_executor() -> None:
        while not done.wait(EXECUTOR_SECONDS):  # repeated, as the job may not have started
            if not _executors(context):
                none_came.set()
                context.cancelAllJobs()

    threading.Thread(target=cancel_without_executor, daemon=True).start()
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
        done.set()


def _kill_starting_java() -> None:
    """Kill a Java process that started too recently to end with this process by itself."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "pyspark-shell" in child.cmdline():
                child.kill()


def _forget_session() -> None:
    """Drop a session without Java: it cannot be stopped, and MLflow would query it for tags."""
    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _has_ended(gateway: Any) -> bool:
    """Return whether Spark's Java process has ended; a killed one takes a moment to end."""
    with suppress(subprocess.TimeoutExpired):
        gateway.proc.wait(END_SECONDS)
    return gateway.proc.poll() is not None


@contextmanager
def candidate_errors(spark: SparkSession) -> Iterator[None]:
    """Raise a failed job of Spark as an EngineError, so that it ends one candidate only.

    If Spark's Java process has ended, its error passes through: no other candidate can be fitted.
    """
    gateway: Any = spark.sparkContext._gateway
    try:
        yield
    except (Py4JError, PySparkException) as error:
        if _has_ended(gateway):
            raise
        raise EngineError(cause_of(error)) from None


def cause_of(error: Exception) -> str:
    """Return the innermost cause in one line: of Python on a worker if any, else of Java."""
    lines = str(error).strip().splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    first = [line.removeprefix(": ") for line in lines if line.startswith(": ")]
    return (_raised_in_python(str(error)) or causes[-1:] or first or lines)[0].strip()


def _raised_in_python(text: str) -> list[str]:
    """Return the exception lines of the last Python traceback in `text`, if any."""
    _, found, below = text.rpartition("Traceback (most recent call last):\n")
    # Frames are indented; the exception is not.
    return [line for line in below.splitlines() if not line.startswith(" ")] if found else []
