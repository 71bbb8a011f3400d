"""ml-pipes beside AutoGluon and FLAML, on the same rows and with the same seconds.

    make bench ARGS="peers --tables titanic,breast_cancer,bank.csv:deposit"
    make bench ARGS="peers --report"

ml-pipes runs on a table first, with `metric=roc_auc`. Each peer then gets the training and
validation rows of that run, and as many seconds as the run took. It is told to maximise ROC AUC,
too, and gets the features of the test rows, but not their target. The metrics of all systems are
computed by the same code. The seconds of a system are those of its whole process, with imports.

A cell is one table, seed and system. Its result is a file in `--folder`; a cell that has one is not
run again, nor, with `--resume`, one of a table and seed that is complete in the last report. The
peers run in environments of their own, which are created at first use.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import SubprocessError

import click
import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from benchmarks import peer_fit
from benchmarks.packaged_tables import file_and_target, name_of
from benchmarks.peer_report import OURS, SYSTEMS, Cell, markdown, picture
from steps.data.logged_splits import open_splits
from steps.data.splits import Splits
from steps.evaluation.intervals import Estimate
from steps.plots.style import as_png
from steps.runtime.cache_folder import cache_folder
from steps.runtime.errors import PipelineError
from steps.runtime.mlproject import PROJECT

# What makes a cell fail, rather than the benchmark.
FAILURES = (OSError, ValueError, SubprocessError, MlflowException, PipelineError)
FOLDER = Path(tempfile.gettempdir()) / "ml-pipes-peers"
TABLES = "titanic,breast_cancer,loanapp,creditcard"
REPORT = "peers.json"
EXPERIMENT = "0"  # MLflow's default
# Seconds beyond three times its limit after which a peer is ended.
GRACE = 300


@click.command()
@click.option("--tables", default=TABLES, help="Names, or files as FILE:TARGET, by comma.")
@click.option("--seeds", default="44,45,46", help="By comma.")
@click.option("--systems", default=",".join(SYSTEMS), help="By comma.")
@click.option("--profile", default="full", type=click.Choice(["full", "quick"]))
@click.option("--limit-factor", default=1.0, help="The peers' limit, in seconds of ml-pipes.")
@click.option("--retry", is_flag=True, help="Run failed cells again.")
@click.option("--resume", is_flag=True, help="Keep the complete cells of the report in --output.")
@click.option("--report", is_flag=True, help="Run nothing; report the cells that there are.")
@click.option("--folder", default=FOLDER, type=Path, help="For runs and cells.")
@click.option("--output", default=PROJECT / "docs", type=Path, help="For the report.")
def main(
    tables: str,
    seeds: str,
    systems: str,
    profile: str,
    limit_factor: float,
    retry: bool,
    resume: bool,
    report: bool,
    folder: Path,
    output: Path,
) -> None:
    """Run the cells that are missing; write peers.json and peers.png.

    The report has the cells of all tables and seeds that were run with the same profile.
    """
    chosen = systems.split(",")
    if unknown := set(chosen) - set(SYSTEMS):
        raise click.BadParameter(f"{sorted(unknown)} are none of {', '.join(SYSTEMS)}")
    if resume:
        restore(output / REPORT, folder)
    if not report:
        check_names_differ(tables.split(","))
        for table in tables.split(","):
            for seed in map(int, seeds.split(",")):
                run_cells(table, seed, chosen, profile, limit_factor, retry, folder)
    cells = [cell for cell in read_cells(folder) if cell["profile"] == profile]
    if not cells:
        raise click.ClickException(f"{folder} has no cell with profile={profile}")
    click.echo(markdown(cells))
    (output / REPORT).write_text(json.dumps(cells, indent=1) + "\n")
    (output / "peers.png").write_bytes(as_png(picture(cells)))


def read_cells(folder: Path) -> Iterator[Cell]:
    """Yield the cells in `folder`, by table, seed and system.

    Peers that were not run beside the present run of ml-pipes are left out.
    """
    cells = [json.loads(file.read_text()) for file in folder.glob("*/*/*.json")]
    runs = {(c["table"], c["seed"]): c.get("run_id") for c in cells if c["system"] == OURS}
    order = SYSTEMS.index
    for c in sorted(cells, key=lambda c: (c["table"], c["seed"], order(c["system"]))):
        run = runs.get((c["table"], c["seed"]))
        if run is None or c.get("run_id") == run:
            yield c


def check_names_differ(tables: list[str]) -> None:
    """Check that no two tables share a name, and with it their cells.

    Raises:
        BadParameter: Some do.
    """
    names = Counter(map(name_of, tables))
    if repeated := [name for name, count in names.items() if count > 1]:
        raise click.BadParameter(f"several tables are called {', '.join(repeated)}")


def source_of(table: str) -> str:
    """Return the name of a table in a package, or a digest of a file's rows and target."""
    file, colon, target = table.rpartition(":")
    if not colon or not Path(file).is_file():
        return table
    return hashlib.sha256(Path(file).read_bytes() + target.encode()).hexdigest()[:12]


def restore(report: Path, folder: Path) -> None:
    """Write the cells of a report to `folder`, for each table and seed that it has no cell of.

    Peers need the run of ml-pipes, which a report lacks: all systems must be there.
    """
    found: dict[Path, list[Cell]] = defaultdict(list)
    for result in json.loads(report.read_text()):
        found[folder / result["table"] / str(result["seed"])].append(result)
    for workspace, cells in found.items():
        if len(cells) == len(SYSTEMS) and not workspace.exists():
            workspace.mkdir(parents=True)
            for result in cells:
                write_cell(workspace / f"{result['system']}.json", result)


def run_cells(
    table: str,
    seed: int,
    systems: list[str],
    profile: str,
    limit_factor: float,
    retry: bool,
    folder: Path,
) -> None:
    """Run the missing cells of a table and a seed: ml-pipes first, whose run the peers need."""
    workspace = folder / name_of(table) / str(seed)
    workspace.mkdir(parents=True, exist_ok=True)
    facts = {
        "table": name_of(table),
        "source": source_of(table),
        "seed": seed,
        "cores": os.cpu_count(),
    }
    mine = cell(
        workspace / f"{OURS}.json",
        facts | {"system": OURS, "profile": profile},
        retry,
        lambda: run_ml_pipes(table, seed, profile, workspace),
    )
    for system in systems:
        if system != OURS:
            origin = {"run_id": mine.get("run_id", ""), "limit_factor": limit_factor}
            cell(
                workspace / f"{system}.json",
                facts | {"system": system, "profile": profile} | origin,
                retry,
                lambda system=system: run_peer(system, mine, limit_factor, workspace),
            )


def cell(file: Path, facts: Cell, retry: bool, run: Callable[[], Cell]) -> Cell:
    """Return the cell in `file` if it has the same facts, else that of `run`, which is recorded."""
    if file.exists():
        found: Cell = json.loads(file.read_text())
        same = all(found.get(key) == value for key, value in facts.items() if key != "cores")
        if same and not (retry and "error" in found):
            return found
    click.echo(f"{facts['table']}, seed {facts['seed']}: {facts['system']}", err=True)
    load = round(os.getloadavg()[0], 1)
    try:
        result = run()
    except FAILURES as error:
        result = {"error": error_line(error)}
    done = facts | {"load": load} | result
    write_cell(file, done)
    return done


def write_cell(file: Path, result: Cell) -> None:
    """Write the result of a cell, whole or not at all."""
    part = file.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.replace(file)


def error_line(error: Exception) -> str:
    """Return the last line of what a process wrote, else the error's own first line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no result after {error.timeout:.0f} s"
    written = getattr(error, "stderr", None) or b""
    text = written.decode(errors="replace") if isinstance(written, bytes) else written
    lines = text.strip().splitlines()
    return lines[-1] if lines else str(error).partition("\n")[0] or type(error).__name__


def run_ml_pipes(table: str, seed: int, profile: str, workspace: Path) -> Cell:
    """Run the main workflow with a tracking store in `workspace`."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": tracking_uri(workspace)}
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        environment.pop(name, None)
    parameters = {"seed": str(seed), "profile": profile, "metric": "roc_auc", "cache": "false"}
    parameters |= data_parameters(table, workspace) | {"model_name": "peers"}
    options = [word for item in parameters.items() for word in ("-P", "=".join(item))]
    command = ["mlflow", "run", str(PROJECT), "--env-manager", "local", *options]
    start = time.monotonic()
    subprocess.run(command, cwd=workspace, env=environment, capture_output=True, check=True)
    seconds = time.monotonic() - start
    client = mlflow.MlflowClient(tracking_uri(workspace))
    newest, *_ = client.search_runs(
        [EXPERIMENT], "attributes.run_name = 'main'", order_by=["attributes.start_time DESC"]
    )
    metrics, tags = newest.data.metrics, newest.data.tags
    names = ("roc_auc", "ks", "average_precision", "log_loss")
    return {name: metrics[f"test_{name}"] for name in names} | {
        "seconds": round(seconds, 1),
        "run_id": newest.info.run_id,
        "champion": f"{tags['engine']} {tags['algorithm']}",
        "revision": tags.get("mlflow.source.git.commit", "")[:7],
    }


def tracking_uri(workspace: Path) -> str:
    """Return the tracking store of `workspace`."""
    return f"sqlite:///{workspace.resolve()}/mlflow.db"


def data_parameters(table: str, workspace: Path) -> dict[str, str]:
    """Return data and target of a table; one that ships in a package is written first."""
    if table == "creditcard":
        return {"data": table}
    file, target = file_and_target(table, workspace)
    return {"data": str(file.resolve()), "target": target}


def run_peer(system: str, mine: Cell, limit_factor: float, workspace: Path) -> Cell:
    """Fit a peer on the rows of a run of ml-pipes, and judge it on the test rows.

    Raises:
        ValueError: There is no such run.
    """
    if "run_id" not in mine:
        raise ValueError("no finished run of ml-pipes")
    python = peer_python(system)
    mlflow.set_tracking_uri(tracking_uri(workspace))
    data, *_ = mlflow.search_runs(
        [EXPERIMENT],
        f"tags.`mlflow.parentRunId` = '{mine['run_id']}' and attributes.run_name = 'load_data'",
        output_format="list",
    )
    limit = mine["seconds"] * limit_factor
    with (
        open_splits(data.info.run_id) as splits,
        tempfile.TemporaryDirectory(prefix="ml-pipes-peers-") as name,
    ):
        task = write_task(splits, Path(name), limit, mine["seed"])
        start = time.monotonic()
        fit(python, system, task, limit)
        seconds = time.monotonic() - start
        scores = pd.read_parquet(task / "scores.parquet")["score"].to_numpy(float)
        metrics = Estimate(splits.test.y, scores).metrics
        facts = json.loads((task / "fit.json").read_text())
    return metrics | {"seconds": round(seconds, 1), "limit": round(limit, 1)} | facts


def write_task(splits: Splits, folder: Path, limit: float, seed: int) -> Path:
    """Write what a peer gets: rows to learn from, the features of the test rows, and settings."""
    target, kinds = splits.target, {feature.name: feature.kind for feature in splits.features}
    training = pd.concat([splits.training.frame, splits.validation.frame], ignore_index=True)
    rows = {"training": training, "test": splits.test.X.copy()}
    levels: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        every = pd.concat([frame[name] for frame in rows.values()])
        if kind == "category":
            levels[name] = sorted(every.dropna().unique())
        elif kind == "boolean":
            dtype = float if every.isna().any() else bool
            for frame in rows.values():
                frame[name] = frame[name].astype(dtype)
    for split, frame in rows.items():
        frame.to_parquet(folder / f"{split}.parquet", index=False)
    task = {"target": target, "levels": levels, "limit": limit, "seed": seed}
    (folder / "task.json").write_text(json.dumps(task))
    return folder


def fit(python: Path, system: str, task: Path, limit: float) -> None:
    """Run a peer in a process that knows nothing but the folder `task`.

    Raises:
        CalledProcessError: It failed.
        TimeoutExpired: It took far longer than its limit.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    program = shutil.copy(peer_fit.__file__, task)
    command = [str(python), str(program), system, str(task)]
    patience = 3 * limit + GRACE
    subprocess.run(command, cwd=task, env=kept, capture_output=True, check=True, timeout=patience)


def peer_python(system: str) -> Path:
    """Return the Python of the environment of a peer, which is created if it is absent."""
    name = system.partition("_")[0]
    lock = PROJECT / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        click.echo(f"creating the environment of {name} in {folder}", err=True)
        install = ["install", "--quiet", "--require-hashes", "-r", str(lock)]
        if uv := shutil.which("uv"):
            _run(uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder))
            _run(uv, "pip", *install, "--compile-bytecode", "--python", str(python))
        else:
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            _run(str(python), "-m", "pip", *install)
        complete.touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)


if __name__ == "__main__":
    main()
