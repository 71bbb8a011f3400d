"""The history of champions of a registered model.

Each change of champion is one tag of the registered model, named by its time, so the history
outlives deleted versions and runs. MLflow keeps no such history.
"""

import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from serving.model.mlflow_model import is_absent

TAG_PREFIX = "champion_since."
TIME_FORMAT = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class ChampionChange:
    """A change of champion.

    Attributes:
        since: time of the change, in ISO 8601.
        version: version that became champion.
        after: version of the champion before; empty for the first.
        by: entry point that made the change.
        run_id: run of that entry point.
        reason: explanation for people.
        anchor: version that later champions must not fall behind (see `steps.registry.anchor`);
            empty for changes of releases without anchors.
    """

    since: str
    version: str
    after: str
    by: str
    run_id: str
    reason: str
    anchor: str = ""


def add_to_history(
    model_name: str,
    since: datetime,
    version: str,
    after: str,
    by: str,
    run_id: str,
    reason: str,
    anchor: str = "",
) -> None:
    """Add a change of champion to the history of `model_name`; twice is the same as once."""
    seconds = since.isoformat(timespec="seconds")
    change = ChampionChange(seconds, version, after, by, run_id, reason, anchor)
    mlflow.MlflowClient().set_registered_model_tag(
        model_name, f"{TAG_PREFIX}{since:{TIME_FORMAT}}", json.dumps(asdict(change))
    )


def champion_history(model_name: str) -> list[ChampionChange]:
    """Return all changes of champion of `model_name`, oldest first."""
    try:
        tags = mlflow.MlflowClient().get_registered_model(model_name).tags
    except MlflowException as error:
        if is_absent(error):
            return []
        raise
    return [
        ChampionChange(**json.loads(tags[name]))
        for name in sorted(tags)
        if name.startswith(TAG_PREFIX)
    ]


def replaced_version(model_name: str, run_id: str) -> str:
    """Return the champion before the change that a run made; empty if it made none."""
    changes = [change for change in champion_history(model_name) if change.run_id == run_id]
    return changes[-1].after if changes else ""


def log_champion_history(model_name: str) -> None:
    """Log the history of `model_name` to the active run as a table."""
    columns = [field.name for field in fields(ChampionChange)]
    table = pd.DataFrame(map(asdict, champion_history(model_name)), columns=columns)
    mlflow.log_table(table, "champion_history.json")
