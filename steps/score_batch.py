"""Batch scoring of a table of any size with the champion, on Spark.

mlflow run . -e score_batch -P input=transactions.parquet -P output=scored
mlflow run . -e score_batch -P input=/data/2026/*.csv -P output=/data/scored \
    -P spark_master=spark://host:7077 -P log_predictions=true

The scores equal those of the service. The output is a folder of Parquet files with the columns of
the input plus prediction_id, score, label, model_name and model_version, numbered if the input has
a column of that name. Until it is complete the folder is called OUTPUT.unfinished; after an
interruption the same command resumes there.
"""

import logging
import time
from pathlib import Path

import mlflow

from serving.settings import resolve_log_uri
from steps.batch.champion_scorer import load_champion_scorer
from steps.batch.input import read_input
from steps.batch.job import ScoringJob, discard, exclusive_output, finish
from steps.batch.log_writing import write_to_log
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.runtime.entry_point import step
from steps.runtime.errors import DataError
from steps.runtime.progress import progress
from steps.runtime.spark_session import spark_session

logger = logging.getLogger("ml-pipes")


@step
def score_batch(
    input: str,  # noqa: A002  (the parameter's public name)
    output: Path,
    model_name: str,
    log_predictions: bool,
    log_uri: str,
    spark_master: str,
) -> None:
    """Score every row of a table with the champion."""
    started = time.monotonic()
    output = output.absolute()  # workers of a cluster have another working directory
    unfinished = output.with_name(f"{output.name}.unfinished")
    with exclusive_output(output), load_champion_scorer(model_name) as champion:
        with spark_session(spark_master, SPARK_SETTINGS) as spark:
            table = read_input(spark, input, champion.scorer.manifest.features)
            if log_predictions:
                table.check_ids(champion.scorer.manifest.id_column)
            job = ScoringJob.of(table, champion.identity)
            job.open_folder(unfinished)
            with progress(f"Spark scores {input} with {champion}", "scoring"):
                try:
                    totals = score_table(table, job, champion, unfinished, log_predictions)
                except DataError:  # a corrected input is a new job
                    discard(unfinished)
                    raise
        if log_predictions:
            write_to_log(unfinished, resolve_log_uri(log_uri), champion)
        finish(unfinished, output)
    seconds = time.monotonic() - started
    mlflow.log_metrics({"rows": totals.rows, "positives": totals.positives, "seconds": seconds})
    mlflow.set_tags({"champion_version": champion.identity.version, "output": str(output)})
    logger.info("%s: scored %s with %s", output, totals, champion)


if __name__ == "__main__":
    score_batch()
