"""Spark ML's classifiers, on this machine or on a cluster.

mlflow run . -e train_spark -P data_run_id=RUN_ID
mlflow run . -e train_spark -P data_run_id=RUN_ID -P spark_master=spark://host:7077
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import mlflow
import mlflow.spark
import numpy as np
import onnx
import pandas as pd
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

from steps.engines.base import (
    Configuration,
    Engine,
    PreparedSplits,
    Split,
    TrainedModel,
    run_engine,
)
from steps.engines.spark_files import SharedFolder, shared_folder
from steps.evaluation.metrics import Floats, Labels
from steps.export.onnx_graphs import linear_graph, write_onnx
from steps.export.tree_ensembles import Tree, ensemble_graph
from steps.runtime.entry_point import step
from steps.runtime.errors import EngineError
from steps.runtime.progress import progress, timed
from steps.runtime.requirements import pinned
from steps.runtime.spark_session import candidate_errors, spark_session

logger = logging.getLogger("ml-pipes")

# The number of partitions follows from the rows, never from the machine: another number gives
# other trees. Sums of two partitions do not depend on which of them is ready first.
ROWS_PER_PARTITION = 500_000
MIN_PARTITIONS = 2
VECTOR, WEIGHT, ROW = "ml_pipes_vector", "ml_pipes_weight", "ml_pipes_row"

CLASSIFIERS = {
    "Logistic Regression": LogisticRegression,
    "Decision Tree": DecisionTreeClassifier,
    "Random Forest": RandomForestClassifier,
    "Gradient-Boosted Trees": GBTClassifier,
}


class SparkEngine(Engine):
    """Spark ML; each of its classifiers is a candidate."""

    name = "spark"

    def __init__(self, profile: str, seed: int, master: str) -> None:
        self._profile = profile
        self._seed = seed
        self._master = master
        self._spark: SparkSession
        self._folder: SharedFolder

    @contextmanager
    def running(self, splits: PreparedSplits) -> Iterator[None]:
        """Provide a Spark session, and a folder that its workers share with this machine."""
        partitions = max(MIN_PARTITIONS, ceil(len(splits.training) / ROWS_PER_PARTITION))
        settings = _partition_settings(partitions)
        with (
            spark_session(self._master, settings, shares_files=False) as self._spark,
            shared_folder(self._spark, self._master) as self._folder,
        ):
            yield

    def search(self, splits: PreparedSplits) -> Iterator[TrainedModel]:
        """Yield one model for each classifier that can be fitted."""
        for configuration in _configurations(splits.training.y, self._profile, self._seed):
            try:
                model = self.fit(configuration, splits.training)
            except EngineError as error:
                logger.warning("spark %s failed: %s", configuration["algorithm"], error)
            else:
                yield model

    def fit(self, configuration: Configuration, rows: Split) -> TrainedModel:
        """Fit the classifier of `configuration` on `rows`."""
        weight = configuration.get("positive_weight", 1.0)
        with timed("data"):
            frame = self._read(rows).withColumn(
                WEIGHT, F.when(F.col(rows.target) == 1, weight).otherwise(1.0)
            )
        pipeline = _pipeline(configuration, rows, weighted=weight != 1.0)
        spark, shared = self._spark, self._folder
        title = f"Spark fits {configuration['algorithm']} on {rows.name} rows"
        try:
            with progress(title), candidate_errors(spark):
                model = pipeline.fit(frame.cache())
        finally:
            frame.unpersist()

        def predict(split: Split) -> Floats:
            with candidate_errors(spark):
                return _probability(model, self._read(split))

        return TrainedModel(
            algorithm=configuration["algorithm"],
            configuration=configuration,
            positive_weight=weight,
            predict=predict,
            log_native=lambda head: _log_native(shared, model, head),
            export=lambda folder: _export(shared, model, folder, rows),
        )

    def _read(self, split: Split) -> DataFrame:
        return self._spark.read.parquet(self._folder.uri_of(split.file))


def _partition_settings(partitions: int) -> dict[str, int]:
    """Return the settings of Spark that lead to `partitions` on any machine."""
    return {
        "spark.default.parallelism": partitions,
        "spark.sql.shuffle.partitions": partitions,
        "spark.sql.files.minPartitionNum": partitions,
        "spark.sql.files.openCostInBytes": 0,
    }


def _configurations(y: Labels, profile: str, seed: int) -> list[Configuration]:
    """Return each classifier with the parameters that differ from Spark's defaults."""
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


def _pipeline(configuration: Configuration, rows: Split, weighted: bool) -> Pipeline:
    """Return the unfitted pipeline: an imputer where values are missing, then the classifier."""
    parameters = configuration["parameters"] | {"featuresCol": VECTOR, "labelCol": rows.target}
    if weighted:
        parameters["weightCol"] = WEIGHT
    classifier = CLASSIFIERS[configuration["algorithm"]](**parameters)
    names = rows.features
    if rows.has_missing:
        names = [f"ml_pipes_filled_{place}" for place in range(len(rows.features))]
    stages: list[Any] = [VectorAssembler(inputCols=names, outputCol=VECTOR), classifier]
    if rows.has_missing:
        imputer = Imputer(strategy="median", inputCols=rows.features, outputCols=names)
        stages.insert(0, imputer)
    return Pipeline(stages=stages)


def _probability(model: PipelineModel, frame: DataFrame) -> Floats:
    """Return the probability of class 1 of each row, in the order of the file."""
    scored = model.transform(frame.withColumn(ROW, F.monotonically_increasing_id()))
    columns = scored.select(ROW, vector_to_array(F.col("probability"))[1].alias("score"))
    return columns.toPandas().sort_values(ROW)["score"].to_numpy(np.float64)


def _log_native(shared: SharedFolder, model: PipelineModel, rows: pd.DataFrame) -> None:
    mlflow.spark.log_model(
        model,
        artifact_path="native",
        dfs_tmpdir=shared.model_folder,
        signature=mlflow.models.infer_signature(rows),
        pip_requirements=pinned("pyspark", "pandas", "numpy"),
    )


def _export(shared: SharedFolder, model: PipelineModel, folder: Path, rows: Split) -> str:
    imputer: Any = model.stages[0]
    classifier = model.stages[-1]
    width = len(rows.features)
    fill = None
    if rows.has_missing:
        medians = imputer.surrogateDF.first()
        fill = np.array([medians[name] for name in rows.features])
    write_onnx(_convert(shared, classifier, width), folder, width, fill=fill)
    return "onnx"


def _convert(shared: SharedFolder, classifier: Any, width: int) -> onnx.ModelProto:
    """Return the float64 ONNX graph of a classifier."""
    match classifier:
        case LogisticRegressionModel():
            return linear_graph(classifier.coefficients.toArray(), classifier.intercept)
        case GBTClassificationModel():
            trees = _trees(shared, classifier)
            weighted = [
                replace(tree, value=tree.value * weight)
                for tree, weight in zip(trees, classifier.treeWeights, strict=True)
            ]
            # Spark's log loss is log(1 + exp(-2 y F)) with y -1 or 1, so F is half the log-odds.
            return ensemble_graph(weighted, width, scale=2.0, logistic=True)
    trees = _trees(shared, classifier)
    return ensemble_graph(trees, width, scale=1 / len(trees))


def _trees(shared: SharedFolder, classifier: Any) -> list[Tree]:
    """Return the trees of a Spark model, from the table of nodes that it saves."""
    uri = shared.new_uri()
    classifier.write().save(uri)
    table = shared.spark.read.parquet(f"{uri}/data")
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


@step
def train_spark(
    data_run_id: str, profile: str, seed: int, spark_master: str, refit_of: str
) -> None:
    """Fit the classifiers of Spark ML, or refit one of them."""
    run_engine(SparkEngine(profile, seed, spark_master), data_run_id, refit_of)


if __name__ == "__main__":
    train_spark()
