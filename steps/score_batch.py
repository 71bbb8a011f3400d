"""Score a table of any size on Spark with the champion, as the service would.

mlflow run . -e score_batch -P input=transactions.parquet -P output=scored
mlflow run . -e score_batch -P input=/data/2026/*.csv -P output=/data/scored \
    -P spark_master=spark://host:7077 -P log_predictions=true

The output is a folder of Parquet files: the columns of the input, and beside them prediction_id,
score, label, model_name and model_version. It gets its name when it is complete. Until then it is
called OUTPUT.unfinished, and the same command goes on with what is missing there.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from sqlalchemy.exc import SQLAlchemyError

from serving.batch import OUTCOME, PREDICTION_COLUMNS, PartitionScorer, part_file
from serving.errors import LogUnavailableError
from serving.prediction import ModelIdentity, Prediction, feature_rows
from serving.registry import SCORER_IN_MODEL
from serving.schema import connect, one_line, upgrade
from serving.schema import log_uri as place_of_log
from serving.scorer import PortableScorer
from serving.store import Request, Store
from steps.pipeline.errors import DataError, EngineError, ParameterError
from steps.pipeline.parameters import PROJECT
from steps.pipeline.progress import progress
from steps.pipeline.registry import downloaded, the_champion
from steps.pipeline.spark import spark_session
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")

SOURCE = "score_batch"
JOB = "job.json"
ROWS_AT_ONCE = 20_000
ROWS_A_TRANSACTION = 10_000
SETTINGS = {
    # A part of 32 MB holds some 130,000 rows of 30 numbers: little to lose, little to repeat.
    "spark.sql.files.maxPartitionBytes": 32 * 2**20,
    "spark.sql.files.minPartitionNum": 4,
    "spark.sql.execution.arrow.maxRecordsPerBatch": ROWS_AT_ONCE,
    "spark.sql.files.openCostInBytes": 0,
}


@step
def score_batch(
    input: str,  # noqa: A002  (what users type)
    output: Path,
    model_name: str,
    log_predictions: bool,
    log_uri: str,
    spark_master: str,
) -> None:
    """Score every row of a table, and leave nothing that looks whole before it is."""
    started = time.monotonic()
    with champion_scorer(model_name) as champion, spark_session(spark_master, SETTINGS) as spark:
        table = read_input(spark, input, champion.scorer)
        job = Job.of(spark, table, champion)
        unfinished = output.with_name(f"{output.name}.unfinished")
        job.resume_in(unfinished)
        with progress(f"Spark scores {input} with {champion}", "scoring"):
            rows, positives = score(spark, table, job, champion, unfinished, input)
    if log_predictions:
        write_to_log(unfinished, place_of_log(log_uri), champion)
    (unfinished / JOB).unlink()
    unfinished.rename(output)
    seconds = time.monotonic() - started
    mlflow.log_metrics({"rows": rows, "positives": positives, "seconds": seconds})
    mlflow.set_tags({"champion_version": champion.identity.version, "output": str(output)})
    log.info("%s: %s rows, %s labelled 1, by %s", output, f"{rows:,}", f"{positives:,}", champion)


@dataclass(frozen=True)
class ChampionScorer:
    """The portable scorer of a champion, in a local folder."""

    identity: ModelIdentity
    folder: Path
    scorer: PortableScorer

    def __str__(self) -> str:
        return f"{self.identity.name} version {self.identity.version}"


@contextmanager
def champion_scorer(model_name: str) -> Iterator[ChampionScorer]:
    """Give the champion of `model_name`; its local copy goes away afterwards.

    Raises:
        RegistryError: there is none, or it cannot be read.
    """
    version = the_champion(model_name)
    identity = ModelIdentity(model_name, str(version.version), version.run_id)
    with downloaded(model_name, str(version.version)) as model:
        folder = model / SCORER_IN_MODEL
        yield ChampionScorer(identity, folder, PortableScorer.load(folder))


def read_input(spark: SparkSession, uri: str, scorer: PortableScorer) -> DataFrame:
    """Return the table at `uri`: features as numbers; other columns of CSV as text.

    Raises:
        DataError: it is not there, lacks a feature, or has a column of the result.
    """
    try:
        table = (
            spark.read.parquet(uri) if _is_parquet(spark, uri) else _read_csv(spark, uri, scorer)
        )
    except AnalysisException as error:
        reason = "no such file" if "PATH_NOT_FOUND" in str(error) else str(error).splitlines()[0]
        raise DataError(f"{uri}: cannot be read: {reason}") from error
    if absent := [name for name in scorer.names if name not in table.columns]:
        raise DataError(
            f"{uri}: column {absent[0]}: must be there, it is a feature of the champion"
        )
    kinds = dict(table.dtypes)
    numbers = ("double", "float", "int", "bigint", "smallint", "tinyint", "decimal")
    for name in scorer.names:
        if not kinds[name].startswith(numbers):
            raise DataError(f"{uri}: column {name}: must be numeric, it is {kinds[name]}")
    if taken := [name for name in PREDICTION_COLUMNS if name in table.columns]:
        raise DataError(f"{uri}: column {taken[0]}: must be renamed, the result has such a column")
    return table


def _is_parquet(spark: SparkSession, uri: str) -> bool:
    """Tell whether the first file at `uri` begins as Parquet does."""
    first = spark.read.format("binaryFile").load(uri).select("path").first()
    if first is None:
        raise DataError(f"{uri}: must hold rows, it is empty")
    sc: Any = spark.sparkContext
    path = sc._jvm.org.apache.hadoop.fs.Path(first["path"])
    stream = path.getFileSystem(sc._jsc.hadoopConfiguration()).open(path)
    try:
        return [stream.read() for _ in range(4)] == list(b"PAR1")
    finally:
        stream.close()


def _read_csv(spark: SparkSession, uri: str, scorer: PortableScorer) -> DataFrame:
    names = spark.read.option("header", True).csv(uri).columns
    kinds = [f"`{name}` {'double' if name in scorer.names else 'string'}" for name in names]
    # FAILFAST: Spark would take text in place of a number for a missing value.
    reader = spark.read.options(header=True, mode="FAILFAST", enforceSchema=False)
    return reader.schema(", ".join(kinds)).csv(uri)


@dataclass(frozen=True)
class Job:
    """What is scored, by what: all that must be the same to go on with unfinished work.

    Attributes:
        files: of the input, with their sizes and times of change.
        columns: of the input.
        parts: in how many partitions Spark reads it.
        model: name and version of the champion.
    """

    files: list[str]
    columns: list[str]
    parts: int
    model: str

    @classmethod
    def of(cls, spark: SparkSession, table: DataFrame, champion: ChampionScorer) -> "Job":
        """Describe the scoring of `table`."""
        sc: Any = spark.sparkContext
        files = []
        for uri in sorted(table.inputFiles()):
            path = sc._jvm.org.apache.hadoop.fs.Path(uri)
            system = path.getFileSystem(sc._jsc.hadoopConfiguration())
            status = system.getFileStatus(path)
            files.append(f"{uri} {status.getLen()} {status.getModificationTime()}")
        return cls(files, table.columns, table.rdd.getNumPartitions(), str(champion))

    @property
    def key(self) -> str:
        """A digest of it."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def resume_in(self, folder: Path) -> None:
        """Make the folder for unfinished work, or take what an interrupted run left there.

        Raises:
            ParameterError: it holds the work of another job, or cannot be made.
        """
        note = folder / JOB
        try:
            if not folder.exists():
                folder.mkdir()
                note.write_text(json.dumps(asdict(self), indent=1))
            found = json.loads(note.read_text())
        except (OSError, ValueError) as error:
            raise ParameterError(f"output: {folder} cannot be used: {error}") from error
        if found != asdict(self):
            raise ParameterError(
                f"output: {folder} holds unfinished work on another input or with another "
                "champion: remove it, or take another name"
            )
        if done := len(list(folder.glob("part-*.parquet"))):
            log.info("%s: %s of %s parts are there already", folder, done, self.parts)


def score(
    spark: SparkSession,
    table: DataFrame,
    job: Job,
    champion: ChampionScorer,
    folder: Path,
    uri: str,
) -> tuple[int, int]:
    """Score the parts that are not in `folder` yet; return all rows and those labelled 1.

    Raises:
        DataError: a row cannot be scored.
        EngineError: the workers do not see the folder.
    """
    sc = spark.sparkContext
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        sc.addPyFile(shutil.make_archive(f"{temporary}/serving", "zip", PROJECT, "serving"))
        shipped = f"scorer-{job.key[:16]}"
        archive = shutil.make_archive(f"{temporary}/{shipped}", "zip", champion.folder)
        sc.addArchive(f"{archive}#{shipped}")
        name, version = champion.identity.name, champion.identity.version
        work = PartitionScorer(str(folder), job.key, shipped, str(name), str(version))
        outcomes = table.mapInArrow(work, OUTCOME).collect()
    if problems := [outcome["problem"] for outcome in outcomes if outcome["problem"]]:
        raise DataError(f"{uri}: {problems[0]}")
    if any(one["rows"] and not part_file(folder, one["part"]).exists() for one in outcomes):
        raise EngineError(f"the workers of Spark wrote elsewhere: they must see {folder}")
    return sum(one["rows"] for one in outcomes), sum(one["positives"] for one in outcomes)


def write_to_log(folder: Path, uri: str, champion: ChampionScorer) -> None:
    """Write the scored rows in `folder` to the prediction log, each once however often it is tried.

    Raises:
        LogUnavailableError: the log is away.
    """
    engine = connect(uri)
    store = Store(engine)
    written, moment = 0, datetime.now(UTC)
    try:
        upgrade(engine)
        for file in sorted(folder.glob("part-*.parquet")):
            for batch in pa.parquet.ParquetFile(file).iter_batches(ROWS_A_TRANSACTION):
                request = Request(_predictions(batch, champion), champion.identity, SOURCE)
                request.created_at = moment
                with store.transaction() as connection:
                    store.insert(connection, list(store.encode(request)), ignore_present=True)
                written += batch.num_rows
            log.info("%s predictions are in the log", f"{written:,}")
    except SQLAlchemyError as error:
        raise LogUnavailableError(f"the prediction log is away: {one_line(error)}") from error
    finally:
        store.close()
        engine.dispose()


def _predictions(batch: pa.RecordBatch, champion: ChampionScorer) -> list[Prediction]:
    scorer = champion.scorer
    features = feature_rows(scorer.names, scorer.matrix(batch.select(scorer.names).to_pandas()))
    ids = batch["id"].to_pylist() if "id" in batch.schema.names else [None] * batch.num_rows
    columns = (batch[name].to_pylist() for name in ("prediction_id", "score", "label"))
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=int(prediction_id[24:], 16),
            entity_id=None if id_ is None else str(id_),
            score=score,
            label=label,
            threshold=scorer.manifest.threshold,
            features=values,
            model_version=champion.identity.version,
        )
        for prediction_id, score, label, id_, values in zip(*columns, ids, features, strict=True)
    ]


if __name__ == "__main__":
    score_batch()
