"""Where a training table comes from that a retraining made.

The run that logs such a table notes it before anything is made from the table, so that whatever
is killed later knows its origin.
"""

import mlflow

from steps.pipeline.parameters import as_given

# The monitoring run that asked for the retraining.
MONITORING_RUN = "monitoring_run_id"
# The data run that the first champion of the line was made from.
BASE = "base_data_run_id"

RUNS_URI = "runs:/"


def origin_of(data_run_id: str) -> dict[str, str]:
    """Return what was noted of the table that a run of `load_data` split; empty if nothing was."""
    data = as_given(mlflow.get_run(data_run_id).data.params).get("data", "")
    if not data.startswith(RUNS_URI):
        return {}
    logged_by, _, _ = data.removeprefix(RUNS_URI).partition("/")
    tags = mlflow.get_run(logged_by).data.tags
    return {name: tags[name] for name in (MONITORING_RUN, BASE) if name in tags}
