"""Seconds and memory of each step for tables of any size.

    python -m benchmarks.step_sizes
    python -m benchmarks.step_sizes --rows 2800000 --repeat 3
    python -m benchmarks.step_sizes --rows 2800000 --steps main

Each size goes through `load_data`, the three engines with `profile=quick`, `select_champion` and
`score_batch`, each started alone. Up to WHOLE_ROWS, the whole workflow, `main`, follows. Tables and
memory are those of `benchmarks.size`. A measurement that was interrupted resumes with the step that
it had not finished: runs and results are kept in `--folder` until all steps of a size are done.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import mlflow
from matplotlib.figure import Figure

from benchmarks.size import measure_step, write_table
from steps.plots.style import as_png, drawing
from steps.runtime.mlproject import PROJECT

RESULT = PROJECT / "docs" / "step_sizes.json"
PICTURE = PROJECT / "docs" / "step_sizes.png"
ENGINES = ("train_pycaret", "train_spark", "train_h2o")
STEPS = ("load_data", *ENGINES, "select_champion", "score_batch", "main")
WHOLE_ROWS = 2_800_000
FOLDER = Path(tempfile.gettempdir()) / "ml-pipes-step-sizes"


@click.command()
@click.option("--rows", default="280000,1000000,2800000,10000000", help="Sizes, by comma.")
@click.option("--repeat", default=1, help="Runs of each step; their median is recorded.")
@click.option("--steps", default=",".join(STEPS), help="Steps to measure, by comma.")
@click.option("--folder", default=FOLDER, type=Path, help="For tables, runs and results.")
def main(rows: str, repeat: int, steps: str, folder: Path) -> None:
    """Measure each step with each size, and record the results in docs/."""
    chosen = steps.split(",")
    for count in map(int, rows.split(",")):
        workspace = folder / str(count)
        workspace.mkdir(parents=True, exist_ok=True)
        table = workspace / "table.parquet"
        if not table.exists():
            write_table(count, table.with_suffix(".part")).rename(table)
        for step in chosen:
            if step != "main" or count <= WHOLE_ROWS:
                _measure(count, step, repeat, workspace, chosen)
        shutil.rmtree(workspace)
    PICTURE.write_bytes(as_png(picture(json.loads(RESULT.read_text()))))


def _measure(count: int, step: str, repeat: int, workspace: Path, steps: list[str]) -> None:
    """Run `step` until there are `repeat` results of it, and record their median."""
    file = workspace / f"{step}.json"
    done: list[tuple[float, float]] = json.loads(file.read_text()) if file.exists() else []
    while len(done) < repeat:
        try:
            parameters = _parameters(step, len(done), workspace, steps)
            done.append(measure_step(workspace, step, **parameters))
        except subprocess.CalledProcessError as error:
            sys.exit(f"{step} with {count:,} rows failed:\n{error.stderr}")
        file.write_text(json.dumps(done))
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    seconds, gigabytes = (statistics.median(values) for values in zip(*done, strict=True))
    result = {"seconds": round(seconds, 1), "gigabytes": round(gigabytes, 2), "runs": len(done)}
    results[f"{count} {step}"] = result
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    click.echo(f"{step}, {count:,} rows: {result}")


def _parameters(step: str, repetition: int, workspace: Path, steps: list[str]) -> dict[str, str]:
    """Return the parameters of `step`, which goes on from the first runs in `workspace`.

    Each selection registers a model of its own, so that none has a champion to compare with.
    """
    table = str(workspace / "table.parquet")
    if step == "main":
        model = {"model_name": f"whole_{repetition}"}
        return {"data": table, "profile": "quick", "cache": "false"} | model
    if step == "load_data":
        return {"data": table}
    if step == "score_batch":
        output = workspace / f"scores_{len(list(workspace.glob('scores_*')))}"
        return {"input": table, "output": str(output), "model_name": "size_0"}
    parameters = {"data_run_id": _first(workspace, "load_data")}
    if step in ENGINES:
        return parameters | {"profile": "quick"}
    trained = ",".join(_first(workspace, engine) for engine in ENGINES if engine in steps)
    model_name = f"size_{repetition}"
    return parameters | {"training_run_ids": trained, "model_name": model_name, "cache": "false"}


def _first(workspace: Path, step: str) -> str:
    """Return the first finished run of `step`; those that follow may be refits of a winner."""
    client = mlflow.MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    run, *_ = client.search_runs(
        ["0"],
        f"attributes.run_name = '{step}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time"],
    )
    return str(run.info.run_id)


@drawing()
def picture(results: dict[str, dict[str, float]]) -> Figure:
    """Draw seconds and memory of each step by the number of rows."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, key, label in zip(axes, ("seconds", "gigabytes"), ("seconds", "GB"), strict=True):
        for step in dict.fromkeys(name.split()[1] for name in results):
            found = sorted(
                (int(name.split()[0]), values[key])
                for name, values in results.items()
                if name.endswith(step)
            )
            axis.plot(*zip(*found, strict=True), "o-", label=step)
        axis.set(xscale="log", xlabel="rows of 31 columns", ylabel=label)
        axis.grid(alpha=0.25)
    axes[0].set(yscale="log")
    axes[1].set(ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


if __name__ == "__main__":
    main()
