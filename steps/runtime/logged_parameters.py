"""Parameters of runs as MLflow logs them: quoted for a shell, and cut if they are long."""

import shlex
from collections.abc import Sequence

import mlflow
from mlflow.entities import Run
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

# Holds the parameters of a run, if MLflow cut any.
PARAMETERS_FILE = "parameters.json"


def log_long_parameters(arguments: Sequence[str]) -> None:
    """Log the parameters of the active run as an artifact if MLflow cut any.

    Args:
        arguments: the command line, pairs of `--name` and value.
    """
    values = dict(zip(arguments[::2], arguments[1::2], strict=False))
    if any(len(shlex.quote(value)) >= MAX_PARAM_VAL_LENGTH for value in values.values()):
        whole = {name.removeprefix("--"): value for name, value in values.items()}
        mlflow.log_dict(whole, PARAMETERS_FILE)


def read_parameters(run: Run) -> dict[str, str]:
    """Return the parameters of a run as they were given."""
    logged = run.data.params
    if any(len(value) >= MAX_PARAM_VAL_LENGTH for value in logged.values()):
        whole: dict[str, str] = mlflow.artifacts.load_dict(
            f"runs:/{run.info.run_id}/{PARAMETERS_FILE}"
        )
        return whole
    return {name: "".join(shlex.split(value)) for name, value in logged.items()}  # "''" is empty
