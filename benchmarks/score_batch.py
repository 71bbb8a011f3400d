"""Throughput and memory of batch scoring on Spark, by table size.

    make run && make bench ARGS="score_batch --model credit-card-fraud"

Spark's workers read and write Parquet. The comparison is the portable scorer alone, in as many
threads and on rows already in memory. Both score the full real data set, repeated for larger
tables. `limit` is the ratio that the scorer would reach if it also read and wrote the same parts,
without Spark; `CSV` compares the rate of the same rows in CSV with that in Parquet. Each figure is
a median of all rounds.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from benchmarks.peak_memory import PeakMemory
from serving.batch.output import PartWriter
from serving.batch.parts import ROWS_AT_ONCE, RowRange
from steps.batch.champion_scorer import ChampionScorer, load_champion_scorer
from steps.batch.input import ranges_of_files, read_input
from steps.batch.job import ScoringJob
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.loading.reading import read_source
from steps.runtime.spark_session import spark_session

REPEATS = (1, 10, 40)
COLUMNS = ["rows", "seconds", "rows/s", "scorer alone, rows/s", "ratio", "limit", "CSV"]


@dataclass(frozen=True)
class Benchmark:
    """A champion, the rows to score, and the number of threads."""

    champion: ChampionScorer
    rows: pd.DataFrame
    threads: int

    def measure(self, repeats: int, parquet: Path, csv: Path) -> tuple[float, ...]:
        """Return one row of `COLUMNS`; the scorer alone runs before and after Spark."""
        before = self.scorer_rows_per_second()
        seconds = self.spark_seconds(parquet)
        alone = (before + self.scorer_rows_per_second()) / 2
        count = repeats * len(self.rows)
        limit = 1 / (1 + self.copy_seconds(parquet) * alone / count)
        in_csv = seconds / self.spark_seconds(csv)
        return count, seconds, count / seconds, alone, count / seconds / alone, limit, in_csv

    def scorer_rows_per_second(self) -> float:
        """Measure the scorer alone."""
        scorer = self.champion.scorer
        starts = range(0, len(self.rows), ROWS_AT_ONCE)
        frames = (self.rows.iloc[start : start + ROWS_AT_ONCE] for start in starts)
        chunks = [scorer.schema.parse_frame(frame) for frame in frames]
        start = time.perf_counter()
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(scorer.score_rows, chunks))
        return len(self.rows) / (time.perf_counter() - start)

    def copy_seconds(self, source: Path) -> float:
        """Measure a copy of the parts of `source`, without Spark and without scores."""
        files = map(str, sorted(source.iterdir()))
        parts = ranges_of_files({file: pa.parquet.read_metadata(file) for file in files})
        with tempfile.TemporaryDirectory() as folder:

            def copy(number: int, rows: RowRange) -> None:
                with PartWriter(Path(folder, f"{number}.parquet")) as writer:
                    for batch in rows.read():
                        writer.write(batch)

            start = time.perf_counter()
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(copy, range(len(parts)), parts))
            return time.perf_counter() - start

    def spark_seconds(self, source: Path) -> float:
        """Measure the scoring of `source` in a session that has scored one file before."""
        with (
            spark_session(f"local[{self.threads}]", SPARK_SETTINGS) as spark,
            tempfile.TemporaryDirectory() as folder,
        ):
            for number, uri in enumerate((min(source.iterdir()), source)):
                table = read_input(spark, str(uri), self.champion.scorer.manifest.features)
                job = ScoringJob.of(table, self.champion.identity)
                output = Path(folder, str(number))
                output.mkdir()
                start = time.perf_counter()
                score_table(table, job, self.champion, output, check_ids=False)
            return time.perf_counter() - start


@contextmanager
def repeated_rows(rows: pd.DataFrame, repeats: int) -> Iterator[tuple[Path, Path]]:
    """Yield folders with `repeats` files of the same rows, in Parquet and in CSV."""
    with tempfile.TemporaryDirectory() as folder:
        parquet, csv = Path(folder, "parquet"), Path(folder, "csv")
        parquet.mkdir()
        csv.mkdir()
        rows.to_parquet(parquet / "part-0.parquet")
        rows.to_csv(csv / "part-0.csv", index=False)
        for source in (parquet / "part-0.parquet", csv / "part-0.csv"):
            for number in range(1, repeats):
                shutil.copy(source, source.with_stem(f"part-{number}"))
        yield parquet, csv


@click.command()
@click.option("--model", default="credit-card-fraud", help="The registered model.")
@click.option("--threads", default=2)
@click.option("--rounds", default=3)
@click.option("--repeats", default=REPEATS, multiple=True, help="Repetitions of the data set.")
def main(model: str, threads: int, rounds: int, repeats: tuple[int, ...]) -> None:
    """Print one row per table size."""
    rows = read_source("creditcard").to_pandas()
    measured, peaks = [], {}
    with load_champion_scorer(model) as champion:
        benchmark = Benchmark(champion, rows, threads)
        for times in repeats:
            with repeated_rows(rows, times) as (parquet, csv):
                for _ in range(rounds):
                    measured.append(benchmark.measure(times, parquet, csv))
                with PeakMemory() as peak:  # in a round of its own, as sampling takes time
                    benchmark.spark_seconds(parquet)
                peaks[times * len(rows)] = peak.bytes / 1e6
    table = pd.DataFrame(measured, columns=COLUMNS).groupby("rows").median()
    table["peak MB"] = pd.Series(peaks)
    click.echo(table.to_string(float_format=lambda value: f"{value:,.2f}"))


if __name__ == "__main__":
    main()
