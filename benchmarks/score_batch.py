"""How fast whole tables are scored, and what it takes when they grow.

python -m benchmarks.score_batch --model credit-card-fraud

The contender is the portable scorer itself in as many threads as Spark has, on rows that are in
memory already. The workers of Spark read Parquet and write Parquet. Both take the same rows: the
full real data, as often as it takes.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet

from serving.batch import ROWS_AT_ONCE
from steps.pipeline.batch_input import read_input
from steps.pipeline.batch_job import Job
from steps.pipeline.sources import read_source
from steps.pipeline.spark import spark_session
from steps.score_batch import SETTINGS, ChampionScorer, champion_scorer, score

REPEATS = (1, 10, 40)


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Give a list that holds the most memory that this process and its children took, in MB."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total / 1e6)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def raw(champion: ChampionScorer, rows: pd.DataFrame, threads: int) -> float:
    """Return the rows a second of the scorer alone."""
    matrix = champion.scorer.matrix(rows)
    chunks = np.array_split(matrix, max(threads, len(matrix) // ROWS_AT_ONCE))
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(champion.scorer.score_matrix, chunks))
    return len(matrix) / (time.perf_counter() - start)


def on_spark(champion: ChampionScorer, source: Path, threads: int) -> float:
    """Return the seconds of scoring `source` in a session that has scored before."""
    with (
        spark_session(f"local[{threads}]", SETTINGS) as spark,
        tempfile.TemporaryDirectory() as folder,
    ):
        warm = source / "part-0.parquet"
        for number, uri in enumerate((warm, source)):
            table = read_input(spark, str(uri), champion.scorer.names)
            output = Path(folder, str(number))
            output.mkdir()
            start = time.perf_counter()
            score(table, Job.of(table, champion.identity), champion, output, check_ids=False)
        return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="credit-card-fraud")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = read_source("creditcard").to_pandas()
    found, peaks = [], {}
    with champion_scorer(arguments.model) as champion, tempfile.TemporaryDirectory() as temporary:
        for repeat in REPEATS:
            source = Path(temporary) / f"rows-{repeat}"
            source.mkdir()
            for number in range(repeat):
                pa.parquet.write_table(
                    pa.Table.from_pandas(rows), source / f"part-{number}.parquet"
                )
            for _ in range(arguments.rounds):
                before = raw(champion, rows, arguments.threads)
                seconds = on_spark(champion, source, arguments.threads)
                alone = (before + raw(champion, rows, arguments.threads)) / 2
                speed = repeat * len(rows) / seconds
                found.append((repeat * len(rows), seconds, speed, alone, speed / alone))
            with peak_memory() as peak:  # in a round of its own: to look takes time, too
                on_spark(champion, source, arguments.threads)
            peaks[repeat * len(rows)] = peak[0]
    names = ["rows", "seconds", "rows/s", "scorer alone, rows/s", "ratio"]
    table = pd.DataFrame(found, columns=names).groupby("rows").median()
    table["peak MB"] = pd.Series(peaks)
    print(table.to_string(float_format=lambda value: f"{value:,.2f}"))


if __name__ == "__main__":
    main()
