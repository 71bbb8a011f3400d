"""Fit Spark ML's classifiers, on this machine or on a cluster.

mlflow run . -e train_spark -P data_run_id=RUN_ID
mlflow run . -e train_spark -P data_run_id=RUN_ID -P spark_master=spark://host:7077
"""

import logging
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import mlflow
import mlflow.spark
import numpy as np
import onnx
from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import (
    DecisionTreeClassifier,
    GBTClassificationModel,
    GBTClassifier,
    LogisticRegression,
    LogisticRegressionModel,
    RandomForestClassifier,
)
from pyspark.ml.feature import Imputer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from serving.java import use_java
from steps.pipeline.candidates import (
    Configuration,
    Fitted,
    read_configuration,
    record_candidate,
    record_refit,
)
from steps.pipeline.errors import EngineError
from steps.pipeline.evaluation import Floats
from steps.pipeline.export import linear_graph, write_onnx
from steps.pipeline.progress import progress, spent_on
from steps.pipeline.requirements import pinned
from steps.pipeline.splits import Part, Splits, open_splits
from steps.pipeline.step import step
from steps.pipeline.trees import Tree, ensemble_graph

log = logging.getLogger("ml-pipes")

ENGINE = "spark"
CONNECT_SECONDS = 10
# The number of partitions follows from the data, never from the machine: another number gives
# other trees. Two is the most whose sums do not depend on which partition is ready first.
ROWS_PER_PARTITION = 500_000
FEWEST_PARTITIONS = 2
VECTOR, WEIGHT = "ml_pipes_vector", "ml_pipes_weight"


@step
def train_spark(
    data_run_id: str, profile: str, seed: int, spark_master: str, refit_of: str
) -> None:
    """Fit the classifiers of Spark ML, or one of them again on more rows."""
    configuration = read_configuration(refit_of, ENGINE) if refit_of else None
    with open_splits(data_run_id) as splits:
        partitions = max(FEWEST_PARTITIONS, ceil(len(splits.training.frame) / ROWS_PER_PARTITION))
        with spark_session(spark_master, partitions) as spark:
            if configuration is not None:
                rows = splits.training_and_validation()
                record_refit(ENGINE, fit(spark, configuration, rows, splits), splits, refit_of)
                return
            for offered in configurations(splits, profile, seed):
                fitted = fit(spark, offered, splits.training, splits)
                record_candidate(ENGINE, fitted, splits)


def configurations(splits: Splits, profile: str, seed: int) -> list[Configuration]:
    """Return the classifiers to fit, with the parameters that differ from Spark's defaults."""
    y = splits.training.y
    full = profile == "full"
    forest = {"numTrees": 40 if full else 10, "maxDepth": 8 if full else 5, "seed": seed}
    return [
        {
            "algorithm": "Logistic Regression",
            "parameters": {"maxIter": 100},
            "positive_weight": float((y == 0).sum() / (y == 1).sum()),
        },
        {
            "algorithm": "Decision Tree",
            "parameters": {"maxDepth": 6, "minInstancesPerNode": 10, "seed": seed},
        },
        {"algorithm": "Random Forest", "parameters": forest | {"minInstancesPerNode": 5}},
        {
            "algorithm": "Gradient-Boosted Trees",
            "parameters": {
                "maxIter": 40 if full else 10,
                "maxDepth": 4,
                "minInstancesPerNode": 10,
                "seed": seed,
            },
        },
    ]


CLASSIFIERS = {
    "Logistic Regression": LogisticRegression,
    "Decision Tree": DecisionTreeClassifier,
    "Random Forest": RandomForestClassifier,
    "Gradient-Boosted Trees": GBTClassifier,
}


def fit(spark: SparkSession, configuration: Configuration, rows: Part, splits: Splits) -> Fitted:
    """Return the classifier of `configuration`, fitted on `rows`."""
    positive_weight = configuration.get("positive_weight", 1.0)
    parameters = configuration["parameters"] | {"featuresCol": VECTOR, "labelCol": splits.target}
    with spent_on("data"):
        frame = _read(spark, rows)
    if positive_weight != 1.0:
        weight = F.when(F.col(splits.target) == 1, positive_weight).otherwise(1.0)
        frame = frame.withColumn(WEIGHT, weight)
        parameters["weightCol"] = WEIGHT
    classifier = CLASSIFIERS[configuration["algorithm"]](**parameters)
    filled = [f"{name}_filled" for name in splits.names] if splits.has_missing else splits.names
    stages: list[Any] = [VectorAssembler(inputCols=filled, outputCol=VECTOR), classifier]
    if splits.has_missing:
        imputer = Imputer(strategy="median", inputCols=splits.names, outputCols=filled)
        stages.insert(0, imputer)
    with progress(f"Spark fits {configuration['algorithm']} on {rows.name} rows"):
        model = Pipeline(stages=stages).fit(frame.cache())
    frame.unpersist()
    with spent_on("judging"):
        probability = _probability(model, _read(spark, splits.validation))
    return Fitted(
        algorithm=configuration["algorithm"],
        configuration=configuration,
        positive_weight=positive_weight,
        probability=probability,
        log_native=lambda: _log_native(model, splits),
        export=lambda folder: _export(spark, model, folder, splits),
    )


def _read(spark: SparkSession, part: Part) -> DataFrame:
    return spark.read.parquet(part.file.as_uri())


def _probability(model: PipelineModel, frame: DataFrame) -> Floats:
    """Return the probability of class 1 of each row, in the order of the file."""
    scored = model.transform(frame.withColumn("ml_pipes_row", F.monotonically_increasing_id()))
    columns = scored.select("ml_pipes_row", vector_to_array(F.col("probability"))[1].alias("score"))
    return columns.toPandas().sort_values("ml_pipes_row")["score"].to_numpy(np.float64)


def _log_native(model: PipelineModel, splits: Splits) -> None:
    mlflow.spark.log_model(
        model,
        artifact_path="native",
        signature=mlflow.models.infer_signature(splits.validation.X.head(100)),
        pip_requirements=pinned("pyspark", "pandas", "numpy"),
    )


def _export(spark: SparkSession, model: PipelineModel, folder: Path, splits: Splits) -> str:
    imputer: Any = model.stages[0]
    classifier = model.stages[-1]
    width = len(splits.names)
    fill = None
    if splits.has_missing:
        medians = imputer.surrogateDF.first()
        fill = np.array([medians[name] for name in splits.names])
    write_onnx(_convert(spark, classifier, width), folder, width, fill=fill)
    return "onnx"


def _convert(spark: SparkSession, classifier: Any, width: int) -> onnx.ModelProto:
    """Return the float64 ONNX graph of a classifier."""
    match classifier:
        case LogisticRegressionModel():
            return linear_graph(classifier.coefficients.toArray(), classifier.intercept)
        case GBTClassificationModel():
            trees = _trees(spark, classifier)
            weighted = [
                replace(tree, value=tree.value * weight)
                for tree, weight in zip(trees, classifier.treeWeights, strict=True)
            ]
            # Spark's log loss is log(1 + exp(-2 y F)) with y -1 or 1, so F is half the log-odds.
            return ensemble_graph(weighted, width, scale=2.0, logistic=True)
    trees = _trees(spark, classifier)
    return ensemble_graph(trees, width, scale=1 / len(trees))


def _trees(spark: SparkSession, classifier: Any) -> list[Tree]:
    """Return the trees of a Spark model, from the table of nodes that it saves."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        path = f"{Path(folder).as_uri()}/model"
        classifier.write().save(path)
        table = spark.read.parquet(f"{path}/data")
        if "nodeData" in table.columns:  # an ensemble: a column more, and one level deeper
            table = table.select("treeID", "nodeData.*")
        else:
            table = table.withColumn("treeID", F.lit(0))
        nodes = table.select(
            "treeID", "id", "prediction", "leftChild", "rightChild",
            F.col("split.featureIndex").alias("feature"),
            F.col("split.leftCategoriesOrThreshold")[0].alias("threshold"),
            F.col("impurityStats")[1].alias("positives"),
            F.aggregate("impurityStats", F.lit(0.0), lambda a, b: a + b).alias("rows"),
        ).toPandas()  # fmt: skip
    regression = isinstance(classifier, GBTClassificationModel)
    trees = []
    for _, tree in nodes.sort_values(["treeID", "id"]).groupby("treeID"):
        value = tree["prediction"] if regression else tree["positives"] / tree["rows"]
        trees.append(
            Tree(
                feature=tree["feature"].to_numpy(np.int64),
                threshold=tree["threshold"].to_numpy(np.float64, na_value=0.0),
                left=tree["leftChild"].to_numpy(np.int64),
                right=tree["rightChild"].to_numpy(np.int64),
                value=value.to_numpy(np.float64),
            )
        )
    return trees


@contextmanager
def spark_session(master: str, partitions: int) -> Iterator[SparkSession]:
    """Start a Spark session and end it, its Java process included.

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
            .config("spark.default.parallelism", partitions)
            .config("spark.sql.shuffle.partitions", partitions)
            .config("spark.sql.files.minPartitionNum", partitions)
            .config("spark.sql.files.openCostInBytes", 0)
        )
        if master.startswith("local"):  # a cluster's executors must reach the driver
            builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config(
                "spark.driver.host", "127.0.0.1"
            )
        try:
            spark = builder.getOrCreate()
        except (Py4JError, RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise EngineError(f"spark_master: no Spark at {master}: {reason}") from error
        spark.sparkContext.setLogLevel("ERROR")
        gateway: Any = spark.sparkContext._gateway
        try:
            yield spark
        except (Py4JError, PySparkException, OSError) as error:
            if gateway.proc.poll() is not None:
                _forget_session()
                raise EngineError("Spark's Java process ended while it worked") from error
            if isinstance(error, OSError):
                raise
            raise EngineError(f"Spark failed: {_cause(error)}") from error
        finally:
            if gateway.proc.poll() is None:
                spark.stop()
                gateway.shutdown()
                gateway.proc.stdin.close()  # the Java process ends with its standard input
                gateway.proc.wait(timeout=30)


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


def _forget_session() -> None:
    """Drop a session whose Java is gone: it cannot be stopped, and MLflow would ask it for tags."""
    SparkContext._active_spark_context = None
    SparkSession._instantiatedSession = None


def _cause(error: Exception) -> str:
    """Return the innermost cause that Java named, in one line."""
    lines = str(error).strip().splitlines()
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines)[-1 if causes else 0].strip()


if __name__ == "__main__":
    train_spark()
