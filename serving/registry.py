"""How a champion stands in MLflow's registry, for those who put it there and who serve it."""

from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

# Where MLflow puts the artifact "scorer" of a pyfunc.
SCORER_IN_MODEL = Path("artifacts", "scorer")


def is_absent(error: MlflowException) -> bool:
    """Tell whether the registry has no such model, version or alias, rather than being away.

    MLflow reports an absent alias as an invalid parameter.
    """
    absent = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")
    return error.error_code in absent
