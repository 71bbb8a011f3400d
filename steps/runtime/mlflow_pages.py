"""MLflow's pages: addresses within them, and the kind of an experiment."""

from urllib.parse import quote

from mlflow.entities import Run

# Tags of an experiment of this kind: MLflow shows its runs, not its pages for language models.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


def run_link(run: Run) -> str:
    """Return the address of a run."""
    return f"{runs_link(run.info.experiment_id)}/{run.info.run_id}"


def runs_link(experiment_id: str) -> str:
    """Return the address of the runs of an experiment."""
    return f"#/experiments/{experiment_id}/runs"


def version_link(model_name: str, version: str) -> str:
    """Return the address of a registered version."""
    return f"#/models/{quote(model_name, safe='')}/versions/{version}"
