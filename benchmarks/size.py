"""Seconds and memory of `load_data` for tables of any size.

    python -m benchmarks.size
    python -m benchmarks.size --rows 280000,1000000 --repeat 3 --formats parquet

Tables have 31 columns like the credit card data: a time, 28 normal variables, an amount and the
target, which depends on three of them. Rows are in random order of time and 0.4 % of them are
duplicates. Memory is the largest sum of the proportional set sizes (PSS) of all processes of
`mlflow run`, every 0.2 s: shared pages count once, the cache of files does not count.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import click
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from matplotlib.figure import Figure

from benchmarks.peak_memory import PeakMemory
from steps.plots.style import as_png, drawing
from steps.runtime.mlproject import PROJECT

RESULT = PROJECT / "docs" / "size.json"
PICTURE = PROJECT / "docs" / "size.png"
NAMES = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
ROWS_AT_ONCE = 500_000


@click.command()
@click.option("--rows", default="280000,1000000,2800000,10000000", help="Sizes, by comma.")
@click.option("--formats", default="parquet,csv", help="Formats, by comma.")
@click.option("--repeat", default=3, help="Runs of each; their median is recorded.")
def main(rows: str, formats: str, repeat: int) -> None:
    """Measure each size in each format; record the results and their picture in docs/."""
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    with tempfile.TemporaryDirectory(prefix="ml-pipes-size-") as name:
        for count in map(int, rows.split(",")):
            parquet = write_table(count, Path(name) / "table.parquet")
            for format_ in formats.split(","):
                file = parquet if format_ == "parquet" else write_csv(parquet)
                runs = [measure(file) for _ in range(repeat)]
                results[f"{format_} {count}"] = {
                    "seconds": round(statistics.median(run[0] for run in runs), 1),
                    "gigabytes": round(statistics.median(run[1] for run in runs), 2),
                    "runs": repeat,
                    "load": round(statistics.median(run[2] for run in runs), 1),
                }
                click.echo(f"{format_} {count:,}: {results[f'{format_} {count}']}")
                RESULT.write_text(json.dumps(results, indent=1) + "\n")
    PICTURE.write_bytes(as_png(picture(results)))


def write_table(count: int, file: Path) -> Path:
    """Write a Parquet file of `count` rows, piece by piece."""
    random = np.random.default_rng(0)
    writer = None
    for start in range(0, count, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, count - start)
        normal = random.standard_normal((28, size))
        # The mean of the second factor is 1.
        rate = 0.002 * np.exp(1.5 * normal[0] - 1.0 * normal[1] + 0.5 * normal[2] - 1.75)
        columns = [
            random.integers(0, 172_800, size).astype(float),
            *normal,
            random.lognormal(3, 1.5, size).round(2),
            (random.random(size) < rate).astype(np.int64),
        ]
        repeated = random.integers(1, size, size // 250)
        for column in columns:
            column[repeated] = column[repeated - 1]
        table = pa.table(dict(zip(NAMES, columns, strict=True)))
        writer = writer or pa.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table, row_group_size=100_000)
    assert writer is not None, "there is at least one row"
    writer.close()
    return file


def write_csv(parquet: Path) -> Path:
    """Write the rows of a Parquet file as CSV."""
    file = parquet.with_suffix(".csv")
    duckdb.sql(f"COPY (FROM read_parquet('{parquet}')) TO '{file}' (HEADER)")
    return file


def measure(file: Path) -> tuple[float, float, float]:
    """Run `load_data`; return its seconds, its peak memory in GB, and the load of the machine."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-size-") as workspace:
        load = os.getloadavg()[0]
        return *measure_step(Path(workspace), "load_data", data=str(file)), load


def measure_step(workspace: Path, entry_point: str, **parameters: str) -> tuple[float, float]:
    """Run a step with a tracking store in `workspace`; return its seconds and peak memory in GB.

    Raises:
        CalledProcessError: The step failed.
    """
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{workspace}/mlflow.db"}
    command = ["mlflow", "run", str(PROJECT), "-e", entry_point, "--env-manager", "local"]
    options = [word for item in parameters.items() for word in ("-P", "=".join(item))]
    start = time.monotonic()
    with (
        subprocess.Popen(
            [*command, *options], cwd=workspace, env=environment, stderr=subprocess.PIPE
        ) as process,
        PeakMemory(process.pid) as peak,
    ):
        _, errors = process.communicate()
    seconds = time.monotonic() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors.decode())
    return seconds, peak.bytes / 1e9


@drawing()
def picture(results: dict[str, dict[str, float]]) -> Figure:
    """Draw seconds and memory by the number of rows."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, label in zip(axes, ("seconds", "gigabytes"), ("seconds", "GB"), strict=True):
        for format_ in ("parquet", "csv"):
            found = sorted(
                (int(name.split()[1]), values[key])
                for name, values in results.items()
                if name.startswith(format_)
            )
            if found:
                axis.plot(*zip(*found, strict=True), "o-", label=format_)
        axis.set(xscale="log", xlabel="rows of 31 columns", ylabel=label, ylim=(0, None))
        axis.grid(alpha=0.25)
        axis.legend()
    return figure


if __name__ == "__main__":
    main()
