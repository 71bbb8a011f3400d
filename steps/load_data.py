"""Read a table, check it, and leave three splits that every engine shares.

mlflow run . -e load_data -P data=sample
mlflow run . -e load_data -P data=transactions.csv -P target=is_fraud -P time_column=date
"""

import logging

import mlflow

from steps.pipeline.plots import log_pictures
from steps.pipeline.profile_plots import profile
from steps.pipeline.progress import spent_on
from steps.pipeline.sources import read_source
from steps.pipeline.splits import log_splits
from steps.pipeline.step import step
from steps.pipeline.table import split_table

log = logging.getLogger("ml-pipes")


@step
def load_data(data: str, target: str, time_column: str, split: str, seed: int) -> None:
    """Read, check and split the data."""
    with spent_on("data"):
        table = split_table(read_source(data), data, target, time_column, split, seed)
    with spent_on("recording"):
        described = log_splits(table, data, target, time_column)
        log_pictures(profile(table, target), "plots")
    mlflow.set_tag("split", described.split)
    counts = {"duplicates_removed": described.duplicates}
    counts |= {f"{name}_rows": rows for name, rows in described.rows.items()}
    counts |= {f"{name}_positives": rows for name, rows in described.positives.items()}
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    log.info(
        "%s: %s rows kept, %s repeated rows dropped; %s split: %s",
        data,
        f"{sum(described.rows.values()):,}",
        f"{described.duplicates:,}",
        described.split,
        ", ".join(
            f"{name} {described.rows[name]:,} rows ({positives} positive)"
            for name, positives in described.positives.items()
        ),
    )


if __name__ == "__main__":
    load_data()
