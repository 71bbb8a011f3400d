"""Who was champion when, why, and by which run: a history that only grows.

Each change of champion is one tag of the registered model, named by its moment, so that it
outlives versions and runs that are deleted. MLflow keeps no such history itself.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException

from serving.registry import is_absent

TAG = "champion_since."
MOMENT = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Reign:
    """A version that became champion.

    Attributes:
        since: when it did, in ISO 8601.
        version: its number.
        after: the champion before it; empty if it was the first.
        by: the entry point that made it champion.
        run_id: the run of that.
        reason: in words.
    """

    since: str
    version: str
    after: str
    by: str
    run_id: str
    reason: str


def note(model_name: str, version: str, after: str | None, by: str, run_id: str, why: str) -> None:
    """Add a change of champion to the history of `model_name`."""
    now = datetime.now(UTC)
    reign = Reign(now.isoformat(timespec="seconds"), version, after or "", by, run_id, why)
    mlflow.MlflowClient().set_registered_model_tag(
        model_name, f"{TAG}{now:{MOMENT}}", json.dumps(asdict(reign))
    )


def history(model_name: str) -> list[Reign]:
    """Return every change of champion of `model_name`, the oldest first."""
    try:
        tags = mlflow.MlflowClient().get_registered_model(model_name).tags
    except MlflowException as error:
        if is_absent(error):
            return []
        raise
    return [Reign(**json.loads(tags[name])) for name in sorted(tags) if name.startswith(TAG)]


def log_history(model_name: str) -> None:
    """Log the history to the active run, as a table that MLflow shows."""
    table = pd.DataFrame([asdict(reign) for reign in history(model_name)])
    mlflow.log_table(table, "champion_history.json")
