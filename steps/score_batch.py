"""Score a table of any size on Spark with the champion, as the service would.

mlflow run . -e score_batch -P input=transactions.parquet -P output=scored
mlflow run . -e score_batch -P input=/data/2026/*.csv -P output=/data/scored \
    -P spark_master=spark://host:7077 -P log_predictions=true

The output is a folder of Parquet files: the columns of the input, and beside them prediction_id,
score, label, model_name and model_version. It gets its name when it is complete. Until then it is
called OUTPUT.unfinished, and the same command goes on with what is missing there.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet
from sqlalchemy.exc import SQLAlchemyError

from serving.batch import ROWS_AT_ONCE, PartScorer, part_file
from serving.errors import LogUnavailableError
from serving.prediction import ModelIdentity, Prediction, entity_id, feature_rows
from serving.prediction_log import features_are_logged
from serving.registry import SCORER_IN_MODEL
from serving.schema import connect, one_line, upgrade
from serving.schema import log_uri as place_of_log
from serving.scorer import PortableScorer
from serving.store import Request, Store
from steps.pipeline.batch_input import BatchInput, read_input
from steps.pipeline.batch_job import Job, discard, finish, one_scoring
from steps.pipeline.errors import DataError, EngineError
from steps.pipeline.parameters import PROJECT
from steps.pipeline.progress import progress
from steps.pipeline.registry import downloaded, the_champion
from steps.pipeline.spark import spark_session
from steps.pipeline.step import step

log = logging.getLogger("ml-pipes")

SOURCE = "score_batch"
ROWS_A_TRANSACTION = 10_000
SETTINGS = {
    # 32 MB hold some 130,000 rows of 30 numbers.
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
    output = output.absolute()  # the workers of a cluster have another working directory
    unfinished = output.with_name(f"{output.name}.unfinished")
    with one_scoring(output), champion_scorer(model_name) as champion:
        with spark_session(spark_master, SETTINGS) as spark:
            source = read_input(spark, input, champion.scorer.names)
            if log_predictions:
                source.check_ids()
            job = Job.of(source, champion.identity)
            job.resume_in(unfinished)
            with progress(f"Spark scores {input} with {champion}", "scoring"):
                try:
                    rows, positives = score(source, job, champion, unfinished, log_predictions)
                except DataError:  # with another input it is another job
                    discard(unfinished)
                    raise
        if log_predictions:
            write_to_log(unfinished, place_of_log(log_uri), champion)
        finish(unfinished, output)
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


def score(
    source: BatchInput, job: Job, champion: ChampionScorer, folder: Path, check_ids: bool
) -> tuple[int, int]:
    """Score the parts that are not in `folder` yet; return all rows and those labelled 1.

    Raises:
        DataError: a row cannot be scored, or there is none, or the log would not take an id.
        EngineError: the workers do not see the folder.
    """
    sc = source.table.sparkSession.sparkContext
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        sc.addPyFile(shutil.make_archive(f"{temporary}/serving", "zip", PROJECT, "serving"))
        shipped = f"scorer-{job.key[:16]}"
        archive = shutil.make_archive(f"{temporary}/{shipped}", "zip", champion.folder)
        sc.addArchive(f"{archive}#{shipped}")
        name, version = str(champion.identity.name), str(champion.identity.version)
        outcomes = source.score(PartScorer(str(folder), job.key, shipped, name, version, check_ids))
    if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
        raise DataError(f"{source.uri}: {problems[0]}")
    if any(one.rows and not part_file(folder, one.part).exists() for one in outcomes):
        raise EngineError(f"the workers of Spark wrote elsewhere: they must see {folder}")
    rows = sum(one.rows for one in outcomes)
    if not rows:
        raise DataError(f"{source.uri}: must hold rows, it is empty")
    return rows, sum(one.positives for one in outcomes)


def write_to_log(folder: Path, uri: str, champion: ChampionScorer) -> None:
    """Write the scored rows in `folder` to the prediction log, each once however often it is tried.

    Raises:
        LogUnavailableError: the log is away.
    """
    engine = connect(uri)
    store = Store(engine, features_are_logged())
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
    keys = batch["id"].to_pylist() if "id" in batch.schema.names else [None] * batch.num_rows
    columns = (batch[name].to_pylist() for name in ("prediction_id", "score", "label"))
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=int(prediction_id[24:], 16),
            entity_id=entity_id(key, row),
            score=score,
            label=label,
            threshold=scorer.manifest.threshold,
            features=values,
            model_version=champion.identity.version,
        )
        for row, (prediction_id, score, label, key, values) in enumerate(
            zip(*columns, keys, features, strict=True)
        )
    ]


if __name__ == "__main__":
    score_batch()
