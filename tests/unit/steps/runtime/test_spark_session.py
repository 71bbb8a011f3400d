"""Cause of a failure in Spark, in one line."""

import pytest

from steps.runtime.spark_session import cause_of

pytestmark = pytest.mark.quick

FRAMES = (
    '  File "pyspark.zip/pyspark/worker.py", line 1247, in main\n    process()\n    ^^^^^^^^^\n'
)
NO_MODULE = "ModuleNotFoundError: No module named 'onnxruntime'"
OTHER_PYTHON = (
    "pyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in "
    "worker has different version (3, 10) than that in driver 3.11, PySpark cannot run with "
    "different minor versions."
)


def of_rdd(raised: str) -> str:
    """As py4j words what happened in a job on an RDD."""
    java = f"org.apache.spark.api.python.PythonException: {traceback(raised)}"
    return (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ": org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 "
        "failed 4 times, most recent failure: Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 "
        f"executor 0): {java}\nDriver stacktrace:\n"
        "\tat org.apache.spark.rdd.RDD.collect(RDD.scala:1048)\n"
        f"Caused by: {java}\t... 1 more\n"
    )


def of_frame(raised: str) -> str:
    """As PySpark words what happened in a job on a data frame, such as mapInArrow."""
    return (
        "\n  An exception was thrown from the Python worker. Please see the stack trace below.\n"
        f"{traceback(raised, java='')}"
    )


def traceback(raised: str, java: str = "\tat java.base/java.lang.Thread.run(Thread.java)\n") -> str:
    return f"Traceback (most recent call last):\n{FRAMES}{raised}\n\n{java}"


@pytest.mark.parametrize("words", [of_rdd, of_frame])
@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (NO_MODULE, NO_MODULE),
        (f"{OTHER_PYTHON}\nPlease check PYSPARK_PYTHON and PYSPARK_DRIVER_PYTHON.", OTHER_PYTHON),
        (
            "KeyError: 'V1'\n\nDuring handling of the above exception, another exception occurred:"
            f"\n\nTraceback (most recent call last):\n{FRAMES}{NO_MODULE}",
            NO_MODULE,
        ),
    ],
    ids=["no module", "another Python", "an error on the way of another"],
)
def test_cause_is_error_of_python_worker(words, raised, cause):
    assert cause_of(Exception(words(raised))) == cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            "An error occurred while calling o7.collect.\n: org.apache.spark.SparkException: Job "
            "aborted\n\tat a.b(c.scala:1)\nCaused by: java.io.IOException: outer\n\t... 2 more\n"
            "Caused by: java.net.ConnectException: inner\n\t... 3 more\n",
            "java.net.ConnectException: inner",
        ),
        (
            "An error occurred while calling None.SparkContext.\n"
            ": org.apache.spark.SparkException: Could not parse Master URL\n\tat a.b(c.scala:1)\n",
            "org.apache.spark.SparkException: Could not parse Master URL",
        ),
        ("[PATH_NOT_FOUND] Path does not exist\nmore", "[PATH_NOT_FOUND] Path does not exist"),
    ],
    ids=["caused by another", "alone", "of PySpark itself"],
)
def test_cause_is_innermost_java_cause(text, cause):
    assert cause_of(Exception(text)) == cause
