"""Origin of the training table of a retraining.

The run that logs such a table is tagged before anything is made from it, so the origin is known
even if a later step is killed.
"""

import mlflow

from steps.data.dataset_source import RUNS_URI
from steps.runtime.logged_parameters import read_parameters

# Tag: the monitoring run that requested the retraining.
MONITORING_RUN = "monitoring_run_id"
# Tag: the `load_data` run that the first champion of the line was trained on.
BASE = "base_data_run_id"
# Tag: the time of a prediction that became the first time after the base table.
TIMES_FROM = "times_from"


def origin_of(data_run_id: str) -> dict[str, str]:
    """Return the origin tags of the table that a `load_data` run split.

    They are empty unless a retraining made the table.
    """
    data = read_parameters(mlflow.get_run(data_run_id)).get("data", "")
    if not data.startswith(RUNS_URI):
        return {}
    logged_by, _, _ = data.removeprefix(RUNS_URI).partition("/")
    tags = mlflow.get_run(logged_by).data.tags
    return {name: tags[name] for name in (MONITORING_RUN, BASE, TIMES_FROM) if name in tags}
