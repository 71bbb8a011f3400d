"""Say where the seconds of the newest run of `main` went.

make run ARGS="-P cache=false" && python -m benchmarks.where_time_goes

data        reading, checking and splitting the table, and handing the splits to the engines
training    fitting models, as the engines do it
judging     scoring the validation rows, metrics with their intervals, and the comparison
exporting   turning each model into a portable scorer, and proving it equal on all these rows
drawing     the pictures
recording   logging: splits, metrics, files, native models
the rest    Python's and Java's start and end, imports, and MLflow between the steps
"""

import mlflow
import pandas as pd

COLUMNS = ("data", "training", "judging", "exporting", "drawing", "recording")


def where_time_goes() -> pd.DataFrame:
    """Return a row for each step, in seconds. The refit is a step below the selection."""
    main, *_ = mlflow.search_runs(
        ["0"],
        "attributes.run_name = 'main' and attributes.status = 'FINISHED'",
        max_results=1,
        output_format="list",
    )
    rows = []
    for name, metrics, whole in _steps(main):
        spent = {column: metrics.get(f"seconds_{column}", 0.0) for column in COLUMNS}
        rows.append({"step": name, **spent, "the rest": whole - sum(spent.values())})
    table = pd.DataFrame(rows).set_index("step")
    whole = (main.info.end_time - main.info.start_time) / 1000
    between = whole - table.to_numpy().sum()
    table.loc["main, between steps"] = [0.0] * len(COLUMNS) + [between]
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def _steps(main: "mlflow.entities.Run") -> list[tuple[str, dict[str, float], float]]:
    """Return name, metrics and seconds of each step, a refit's taken out of the selection's."""
    steps = []
    for run in _below(main):
        whole = run.data.metrics["seconds_total"]
        refits = [child for child in _below(run) if "seconds_total" in child.data.metrics]
        for refit in refits:
            seconds = refit.data.metrics["seconds_total"]
            steps.append((f"refit by {refit.info.run_name}", refit.data.metrics, seconds))
            whole -= seconds
        steps.append((run.info.run_name, run.data.metrics, whole))
    return steps


def _below(run: "mlflow.entities.Run") -> "list[mlflow.entities.Run]":
    return mlflow.search_runs(
        ["0"],
        f"tags.`mlflow.parentRunId` = '{run.info.run_id}'",
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )


if __name__ == "__main__":
    table = where_time_goes()
    print(table.to_string(float_format=lambda value: f"{value:.1f}"))
    overhead = table.loc["all", "recording"] + table.loc["all", "the rest"]
    print(
        f"\nMLflow, Java, imports and logging: {overhead:.0f} s of {table.loc['all', 'all']:.0f} s"
    )
