"""Fit Spark ML's classifiers, on this machine or on a cluster.

mlflow run . -e train_spark -P data_run_id=RUN_ID
mlflow run . -e train_spark -P data_run_id=RUN_ID -P spark_master=spark://host:7077
"""

import logging
import tempfile
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import mlflow
import mlflow.spark
import numpy as np
import onnx
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

from steps.pipeline.candidates import (
    Configuration,
    Fitted,
    read_configuration,
    record_candidate,
    record_refit,
)
from steps.pipeline.evaluation import Floats
from steps.pipeline.export import linear_graph, write_onnx
from steps.pipeline.progress import progress, spent_on
from steps.pipeline.requirements import pinned
from steps.pipeline.spark import spark_session
from steps.pipeline.splits import Part, Splits, open_splits
from steps.pipeline.step import step
from steps.pipeline.trees import Tree, ensemble_graph

log = logging.getLogger("ml-pipes")

ENGINE = "spark"
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
        with spark_session(spark_master, partitioned_into(partitions)) as spark:
            if configuration is not None:
                rows = splits.training_and_validation()
                record_refit(ENGINE, fit(spark, configuration, rows, splits), splits, refit_of)
                return
            for offered in configurations(splits, profile, seed):
                fitted = fit(spark, offered, splits.training, splits)
                record_candidate(ENGINE, fitted, splits)


def partitioned_into(partitions: int) -> dict[str, int]:
    """Return the settings of Spark that lead to so many partitions on any machine."""
    return {
        "spark.default.parallelism": partitions,
        "spark.sql.shuffle.partitions": partitions,
        "spark.sql.files.minPartitionNum": partitions,
        "spark.sql.files.openCostInBytes": 0,
    }


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


if __name__ == "__main__":
    train_spark()
