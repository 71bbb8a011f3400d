"""Read, validate and split a table, and log the splits that all engines share.

mlflow run . -e load_data -P data=sample
mlflow run . -e load_data -P data=transactions.csv -P target=is_fraud -P time_column=date
"""

import logging

import mlflow

from steps.data.logged_splits import log_splits, new_splits_folder
from steps.data.splits import SplitsDescription
from steps.data_page.page import data_page
from steps.loading.column_table import columns_as_csv, format_columns
from steps.loading.reading import load_source
from steps.loading.rules import Rules
from steps.loading.session import session
from steps.loading.splitting import split_table
from steps.preparation.prepared_splits import fit_preparations
from steps.runtime.entry_point import step
from steps.runtime.mlflow_pages import DATA_PAGE
from steps.runtime.mlproject import entry_points
from steps.runtime.parameter_types import as_parameter
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")


@step
def load_data(
    data: str,
    query: str,
    target: str,
    positive: str,
    drop: list[str],
    categorical: list[str],
    numeric: list[str],
    id_column: str,
    time_column: str,
    split: str,
    duplicates: str,
    seed: int,
) -> None:
    """Read, validate and split the data."""
    rules = Rules(
        target,
        time_column,
        split,
        duplicates,
        seed,
        positive,
        drop,
        categorical,
        numeric,
        id_column,
    )
    with new_splits_folder() as folder:
        with timed("data"), session() as opened:
            splits = split_table(load_source(opened, data, query), rules, folder)
        report_columns(splits.description)
        with timed("preparing"):
            fit_preparations(splits, folder, seed)
        with timed("recording"):
            log_splits(splits, folder)
        with timed("drawing"):
            mlflow.log_text(data_page(splits), DATA_PAGE)
    description = splits.description
    warn_about_time(time_column, description)
    mlflow.set_tags({"split": description.split, "equal_rows": description.equal_rows})
    mlflow.log_metrics(counts(description))
    logger.info("%s", summary(description))


def report_columns(description: SplitsDescription) -> None:
    """Log what the columns mean: to the terminal, as artifact, and what is suspicious as tag."""
    logger.info("%s", describe_target(description))
    logger.info("%s", format_columns(description.columns))
    mlflow.log_text(columns_as_csv(description.columns), "columns.csv")
    suspects = description.leakage_suspects
    for name, auc in suspects.items():
        logger.warning(
            "column %s alone ranks the training rows with an AUC of %.4f: is it known before the "
            "target is? -P drop=%s leaves it out", name, auc, as_parameter(name)
        )  # fmt: skip
    if suspects:
        mlflow.set_tag("leakage_suspects", ", ".join(suspects))


def warn_about_time(time_column: str, description: SplitsDescription) -> None:
    """Say that the table lacks the time column, unless it is the default, which it may lack."""
    default = entry_points()["load_data"]["parameters"]["time_column"]["default"]
    if time_column not in ("", default) and not any(description.latest.values()):
        logger.warning(
            "time_column %r not found: the rows are split at random; pass -P split=temporal to "
            "make this an error", time_column
        )  # fmt: skip


def describe_target(description: SplitsDescription) -> str:
    """Return the line that says which value is class 1, and why."""
    share = sum(description.positives.values()) / sum(description.rows.values())
    return (
        f"target {description.target}: class 1 is {description.classes[1]!r} ({100 * share:.3g} % "
        f"of the rows), because {description.positive_because}"
    )


def counts(description: SplitsDescription) -> dict[str, float]:
    """Return the row counts that are logged as metrics, by name."""
    metrics: dict[str, float] = {"duplicates_removed": description.duplicates}
    for name, rows in description.rows.items():
        metrics |= {f"{name}_rows": rows, f"{name}_positives": description.positives[name]}
    if description.repeated_in_test is not None:
        metrics["repeated_in_test"] = description.repeated_in_test
    return {name: float(count) for name, count in metrics.items()}


def summary(description: SplitsDescription) -> str:
    """Return the line that the step logs at its end."""
    sizes = ", ".join(
        f"{name} {rows:,} rows ({description.positives[name]:,} positive)"
        for name, rows in description.rows.items()
    )
    return (
        f"{description.source}: {sum(description.rows.values()):,} rows kept, "
        f"{equal_rows(description)}; {description.split} split: {sizes}"
    )


def equal_rows(description: SplitsDescription) -> str:
    """Return what became of equal rows, in words."""
    if description.repeated_in_test is not None:
        share = f"{description.repeated_in_test:.1%}"
        return (
            f"duplicate rows kept ({share} of the test rows have features that occur in training)"
        )
    dropped = f"{description.duplicates:,} duplicate rows dropped"
    if not description.duplicates:
        return dropped
    before, after = description.positive_rates
    return f"{dropped} (share of class 1 {before:.3%} before, {after:.3%} after)"


if __name__ == "__main__":
    load_data()
