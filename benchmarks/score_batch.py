"""Throughput and memory of batch scoring on Spark, by table size.

    make run && make bench ARGS="score_batch --model credit-card-fraud"

Spark's workers read and write Parquet. The comparison is the portable scorer alone, in as many
threads and on rows already in memory. Both score the full real data set, repeated for larger
tables. Each figure is a median of all rounds.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet

from serving.batch.parts import ROWS_AT_ONCE
from steps.batch.champion_scorer import ChampionScorer, load_champion_scorer
from steps.batch.input import read_input
from steps.batch.job import ScoringJob
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.loading.reading import read_source
from steps.runtime.spark_session import spark_session

REPEATS = (1, 10, 40)
COLUMNS = ["rows", "seconds", "rows/s", "scorer alone, rows/s", "ratio"]


class PeakMemory:
    """Peak memory (PSS) of this process and its children while the context is open, in MB."""

    INTERVAL_SECONDS = 0.5

    def __enter__(self) -> "PeakMemory":
        self.megabytes = 0.0
        self._done = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._sampler.join()

    def _sample(self) -> None:
        root = psutil.Process()
        while not self._done.wait(self.INTERVAL_SECONDS):
            processes = [root, *root.children(recursive=True)]
            self.megabytes = max(self.megabytes, sum(map(_pss_megabytes, processes)))


def _pss_megabytes(process: psutil.Process) -> float:
    try:
        return process.memory_full_info().pss / 1e6
    except psutil.NoSuchProcess:
        return 0.0


@dataclass(frozen=True)
class Benchmark:
    """A champion, the rows to score, and the number of threads."""

    champion: ChampionScorer
    rows: pd.DataFrame
    threads: int

    def measure(self, repeats: int, source: Path) -> tuple[float, ...]:
        """Return one row of `COLUMNS`; the scorer alone runs before and after Spark."""
        before = self.scorer_rows_per_second()
        seconds = self.spark_seconds(source)
        alone = (before + self.scorer_rows_per_second()) / 2
        count = repeats * len(self.rows)
        return count, seconds, count / seconds, alone, count / seconds / alone

    def scorer_rows_per_second(self) -> float:
        """Measure the scorer alone."""
        scorer = self.champion.scorer
        matrix = scorer.schema.parse_frame(self.rows)
        chunks = np.array_split(matrix, max(self.threads, len(matrix) // ROWS_AT_ONCE))
        start = time.perf_counter()
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(scorer.score_matrix, chunks))
        return len(matrix) / (time.perf_counter() - start)

    def spark_seconds(self, source: Path) -> float:
        """Measure the scoring of `source` in a session that has scored one file before."""
        with (
            spark_session(f"local[{self.threads}]", SPARK_SETTINGS) as spark,
            tempfile.TemporaryDirectory() as folder,
        ):
            for number, uri in enumerate((source / "part-0.parquet", source)):
                table = read_input(spark, str(uri), self.champion.scorer.manifest.features)
                job = ScoringJob.of(table, self.champion.identity)
                output = Path(folder, str(number))
                output.mkdir()
                start = time.perf_counter()
                score_table(table, job, self.champion, output, check_ids=False)
            return time.perf_counter() - start


@contextmanager
def repeated_rows(rows: pd.DataFrame, repeats: int) -> Iterator[Path]:
    """Yield a temporary folder with `repeats` Parquet files of the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats):
            file = Path(folder) / f"part-{number}.parquet"
            pa.parquet.write_table(pa.Table.from_pandas(rows), file)
        yield Path(folder)


def main() -> None:
    """Print one row per table size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="credit-card-fraud")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = read_source("creditcard").to_pandas()
    measured, peaks = [], {}
    with load_champion_scorer(arguments.model) as champion:
        benchmark = Benchmark(champion, rows, arguments.threads)
        for repeats in REPEATS:
            with repeated_rows(rows, repeats) as source:
                for _ in range(arguments.rounds):
                    measured.append(benchmark.measure(repeats, source))
                with PeakMemory() as peak:  # in a round of its own, as sampling takes time
                    benchmark.spark_seconds(source)
                peaks[repeats * len(rows)] = peak.megabytes
    table = pd.DataFrame(measured, columns=COLUMNS).groupby("rows").median()
    table["peak MB"] = pd.Series(peaks)
    print(table.to_string(float_format=lambda value: f"{value:,.2f}"))


if __name__ == "__main__":
    main()
