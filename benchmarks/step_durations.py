"""Durations of the newest finished run of `main`, by step and kind of work.

    make run ARGS="-P cache=false" && python -m benchmarks.step_durations

data        reading, validating and splitting the table; passing splits to the engines
training    fitting models
judging     scoring validation rows; metrics with their intervals; comparison of candidates
exporting   converting models to portable scorers and verifying them on the validation rows
drawing     rendering pictures
recording   logging splits, metrics, files and native models
the rest    start and exit of Python and Java, imports, and MLflow between the steps
"""

import mlflow
import pandas as pd

COLUMNS = ("data", "training", "judging", "exporting", "drawing", "recording")


def step_durations() -> pd.DataFrame:
    """Return the seconds of each step (rows) by kind of work; the refit is a row of its own."""
    main, *_ = mlflow.search_runs(
        search_all_experiments=True,
        filter_string="attributes.run_name = 'main' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    rows = []
    for name, metrics, total in _steps(main):
        seconds = {column: metrics.get(f"seconds_{column}", 0.0) for column in COLUMNS}
        rows.append({"step": name, **seconds, "the rest": total - sum(seconds.values())})
    table = pd.DataFrame(rows).set_index("step")
    total = (main.info.end_time - main.info.start_time) / 1000
    between = total - table.to_numpy().sum()
    table.loc["main, between steps"] = [0.0] * len(COLUMNS) + [between]
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def _steps(main: "mlflow.entities.Run") -> list[tuple[str, dict[str, float], float]]:
    """Return name, metrics and seconds of each step; the selection's exclude its refit."""
    steps = []
    for run in _children(main):
        total = run.data.metrics["seconds_total"]
        refits = [child for child in _children(run) if "seconds_total" in child.data.metrics]
        for refit in refits:
            seconds = refit.data.metrics["seconds_total"]
            steps.append((f"refit by {refit.info.run_name}", refit.data.metrics, seconds))
            total -= seconds
        steps.append((run.info.run_name, run.data.metrics, total))
    return steps


def _children(run: "mlflow.entities.Run") -> "list[mlflow.entities.Run]":
    return mlflow.search_runs(
        [run.info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )


if __name__ == "__main__":
    table = step_durations()
    print(table.to_string(float_format=lambda value: f"{value:.1f}"))
    overhead = table.loc["all", "recording"] + table.loc["all", "the rest"]
    print(
        f"\nMLflow, Java, imports and logging: {overhead:.0f} s of {table.loc['all', 'all']:.0f} s"
    )
