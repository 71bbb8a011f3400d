"""Distribution of a scoring job to Spark's workers."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving.batch.part_scorer import PartScorer
from serving.batch.parts import ROWS_AT_ONCE, Outcome, part_file
from steps.batch.champion_scorer import ChampionScorer
from steps.batch.input import BatchInput
from steps.batch.job import ScoringJob
from steps.runtime.errors import DataError, EngineError
from steps.runtime.mlproject import PROJECT

SPARK_SETTINGS = {
    # 32 MB hold some 130,000 rows of 30 numbers.
    "spark.sql.files.maxPartitionBytes": 32 * 2**20,
    "spark.sql.files.minPartitionNum": 4,
    "spark.sql.execution.arrow.maxRecordsPerBatch": ROWS_AT_ONCE,
    "spark.sql.files.openCostInBytes": 0,
    # Names that differ in case only are names of two columns.
    "spark.sql.caseSensitive": "true",
    # pandas writes times in nanoseconds, which Spark does not know; the workers do.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}


@dataclass(frozen=True)
class Totals:
    """Numbers of scored rows and of rows with predicted label 1."""

    rows: int
    positives: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows ({self.positives:,} with label 1)"


def score_table(
    table: BatchInput, job: ScoringJob, champion: ChampionScorer, folder: Path, check_ids: bool
) -> Totals:
    """Score the parts of `table` that are missing in `folder`; count the rows of all parts.

    Args:
        table: the input.
        job: source of the prediction ids, which do not change when the job resumes.
        champion: the scorer that is shipped to the workers.
        folder: the folder for one Parquet file per part; every worker must see it.
        check_ids: check the column `id` against the rules of the prediction log.

    Raises:
        DataError: the table is empty, a row cannot be scored, or an id cannot be logged.
        EngineError: a worker does not see a file of the input, or `folder`.
    """
    with _shipped(table, job, champion) as shipped_name:
        identity = champion.identity
        outcomes = table.score(
            PartScorer(
                str(folder), job.key, shipped_name,
                str(identity.name), str(identity.version), check_ids, tuple(table.table.columns),
            )
        )  # fmt: skip
    return _totals(table.uri, outcomes, folder)


@contextmanager
def _shipped(table: BatchInput, job: ScoringJob, champion: ChampionScorer) -> Iterator[str]:
    """Ship `serving` and the scorer to the workers; yield the scorer's name there."""
    context = table.table.sparkSession.sparkContext
    name = f"scorer-{job.key[:16]}"
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        context.addPyFile(shutil.make_archive(f"{folder}/serving", "zip", PROJECT, "serving"))
        archive = shutil.make_archive(f"{folder}/{name}", "zip", champion.folder)
        context.addArchive(f"{archive}#{name}")
        yield name


def _totals(uri: str, outcomes: list[Outcome], folder: Path) -> Totals:
    if problems := [outcome.problem for outcome in outcomes if outcome.problem]:
        raise DataError(f"{uri}: {problems[0]}")
    # The finished parts stay: they are right, whatever a worker does not see.
    if unseen := [outcome.unseen for outcome in outcomes if outcome.unseen]:
        raise EngineError(
            f"spark_master: the worker {unseen[0]}: make it accessible to all workers and run the "
            "same command again; it scores only the missing parts"
        )
    if any(part.rows and not part_file(folder, part.part).exists() for part in outcomes):
        raise EngineError(
            f"output: Spark's workers did not write to {folder}; choose a folder they share"
        )
    totals = Totals(
        sum(outcome.rows for outcome in outcomes), sum(outcome.positives for outcome in outcomes)
    )
    if not totals.rows:
        raise DataError(f"{uri}: must not be empty")
    return totals
