"""MLflow's pages: where people read them, addresses within them, and the kind of an experiment."""

import os
import shlex
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import mlflow
from mlflow.entities import Run

from steps.runtime.mlproject import PROJECT

# Tags of an experiment of this kind: MLflow shows its runs, not its pages for language models.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}

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


def runs_link(experiment_id: str) -> str:
    """Return the address of the runs of an experiment."""
    return f"#/experiments/{experiment_id}/runs"


def version_link(model_name: str, version: str) -> str:
    """Return the address of a registered version."""
    return f"#/models/{quote(model_name, safe='')}/versions/{version}"
