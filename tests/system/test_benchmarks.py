"""`make bench` in a project that has not been run, with an environment that is not on the PATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving_contenders import BENTOML, MINIMAL, MLFLOW, POSTGRESQL, SQLITE
from tests.support.project import PROJECT

ONLY = ["--only", "onnxruntime", "this service"]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of `make bench` in `folder`, with the tools of the system on the PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "JAVA_"))}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=folder,
        env=kept | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_benchmarks_of_serving_run_without_a_champion(tmp_path):
    done = bench(tmp_path, "serving", "--short", *ONLY, "mlflow models serve`, no log")
    assert done.returncode == 0, done.stderr
    assert "credit-card-fraud has no champion: training one on the sample" in done.stderr
    for name in (MINIMAL, SQLITE, POSTGRESQL, MLFLOW):
        assert f"| {name} |" in done.stdout
    assert BENTOML not in done.stdout


@pytest.mark.quick
def test_unknown_benchmark_names_those_there_are(tmp_path):
    done = bench(tmp_path, "speed")
    assert done.returncode == 1
    assert "'speed' is not one of" in done.stderr
    assert "score_batch" in done.stderr


@pytest.mark.quick
def test_options_alone_are_those_of_serving(tmp_path):
    done = bench(tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "--mojo" in done.stdout


def test_make_bench_installs_what_it_needs():
    done = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--dry-run",
            "--always-make",
            "bench",
            "ARGS=serving --short",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert "requirements/dev.txt" in done.stdout
    assert done.stdout.splitlines()[-1] == "python -m benchmarks serving --short"
