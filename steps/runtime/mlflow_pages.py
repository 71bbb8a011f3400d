"""MLflow's pages: their addresses, the notes on them, and the names and kinds of experiments."""

import os
import shlex
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import mlflow
from mlflow.entities import LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from serving.model.mlflow_model import is_absent
from steps.runtime.mlproject import PROJECT

# Tags of an experiment of this kind: MLflow shows its runs, not its pages for language models.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
# The length that MLflow allows for a tag of a run, and so for its note.
MAX_NOTE = 8_000

# The address under which people reach the tracking server, if it is not that of the steps.
VARIABLE = "MLPIPES_MLFLOW_URL"
# The artifact of `load_data` with the page about the data.
DATA_PAGE = "data.html"
# Where `make ui` and `mlflow ui` serve the pages.
UI_URL = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class Pages:
    """Where people read the pages.

    Attributes:
        url: The address, without a slash at its end.
        command: What serves the pages there; empty if a server does.
    """

    url: str
    command: str = ""

    def address(self, link: str) -> str:
        """Return the whole address of a link within the pages."""
        return f"{self.url}/{link}"


def find_pages() -> Pages | None:
    """Return where people read the pages; None if the tracking store has no such pages."""
    if published := os.environ.get(VARIABLE, ""):
        return Pages(published.rstrip("/"))
    uri = mlflow.get_tracking_uri()
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        host = parts.netloc.rpartition("@")[2]  # without a password
        return Pages(f"{parts.scheme}://{host}{parts.path.rstrip('/')}")
    if uri.startswith("databricks"):
        return None
    return Pages(UI_URL, _ui_command(uri))


def _ui_command(uri: str) -> str:
    """Return the command that serves the pages of a tracking store without a server."""
    if uri in (f"sqlite:///{PROJECT / 'mlflow.db'}", (PROJECT / "mlruns").as_uri()):
        return "make ui"
    # The URI of a database server may hold a password.
    shown = '"$MLFLOW_TRACKING_URI"' if "@" in uri else shlex.quote(uri)
    return f"mlflow ui --backend-store-uri {shown}"


def run_link(run: Run) -> str:
    """Return the address of a run."""
    return f"{runs_link(run.info.experiment_id)}/{run.info.run_id}"


def artifact_link(run: Run, path: str) -> str:
    """Return the address of the view of an artifact."""
    return f"{run_link(run)}/artifacts/{quote(path)}"


def monitoring_experiment(model_name: str) -> str:
    """Return the name of the experiment that holds the monitoring runs of a model."""
    return f"{model_name} monitoring"


def runs_link(experiment_id: str) -> str:
    """Return the address of the runs of an experiment."""
    return f"#/experiments/{experiment_id}/runs"


def model_link(model_name: str) -> str:
    """Return the address of a registered model."""
    return f"#/models/{quote(model_name, safe='')}"


def version_link(model_name: str, version: str) -> str:
    """Return the address of a registered version."""
    return f"{model_link(model_name)}/versions/{version}"


def picture(run: Run, path: str, title: str) -> str:
    """Return Markdown that shows a picture among the artifacts of a run."""
    return f"![{title}](get-artifact?path={quote(path)}&run_uuid={run.info.run_id})"


def find_run(run_id: str | None) -> Run | None:
    """Return a run, or None if it does not exist or was deleted."""
    if not run_id:
        return None
    try:
        run = mlflow.get_run(run_id)
    except MlflowException as error:
        if is_absent(error):
            return None
        raise
    return run if run.info.lifecycle_stage == LifecycleStage.ACTIVE else None


def add_to_note(run_id: str | None, paragraph: str) -> None:
    """Append a paragraph to the note of a run.

    Nothing happens if the note already has this paragraph or would be too long for MLflow, or if
    the run was deleted.
    """
    if (run := find_run(run_id)) is None:
        return
    note = run.data.tags.get(MLFLOW_RUN_NOTE, "")
    if paragraph in note.split("\n\n"):
        return
    longer = f"{note}\n\n{paragraph}" if note else paragraph
    if len(longer) <= MAX_NOTE:
        mlflow.MlflowClient().set_tag(run.info.run_id, MLFLOW_RUN_NOTE, longer)


def link_both_ways(run_id: str, forth: str, other_id: str, back: str) -> None:
    """Link two runs in their notes; nothing happens if one was deleted.

    Args:
        run_id: A run.
        forth: What the other run is to it.
        other_id: The other run.
        back: What it is to the other run.
    """
    run, other = find_run(run_id), find_run(other_id)
    if run and other:
        add_to_note(run_id, f"{forth}: [{other.info.run_name}]({run_link(other)}).")
        add_to_note(other_id, f"{back}: [{run.info.run_name}]({run_link(run)}).")
