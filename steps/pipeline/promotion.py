"""Whether a challenger replaces the champion, decided on the same test rows."""

from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from serving.errors import InputError, ScorerError
from serving.scorer import PortableScorer
from steps.pipeline.errors import RegistryError
from steps.pipeline.evaluation import evaluate
from steps.pipeline.registry import CHAMPION, SCORER_IN_MODEL
from steps.pipeline.splits import Part


@dataclass(frozen=True)
class Incumbent:
    """The present champion, and its metrics on the test rows or why it has none."""

    version: str
    metrics: dict[str, float] | None
    problem: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether the challenger is promoted, and why, in words for a person."""

    promoted: bool
    reason: str


def assess_incumbent(model_name: str, test: Part) -> Incumbent | None:
    """Return the champion of `model_name` scored on `test`, or None if there is none.

    Raises:
        RegistryError: its artifact cannot be read now, which says nothing of the champion.
    """
    version = find_incumbent(model_name)
    if version is None:
        return None
    try:
        path = mlflow.artifacts.download_artifacts(f"models:/{model_name}/{version.version}")
        scores = PortableScorer.load(Path(path) / SCORER_IN_MODEL).score(test.frame)
    except (InputError, ScorerError) as error:
        return Incumbent(str(version.version), None, str(error))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"champion version {version.version} of {model_name} cannot be read to compare with "
            f"it, so nothing is promoted: {error}"
        ) from error
    return Incumbent(str(version.version), evaluate(test.y, scores))


def find_incumbent(model_name: str) -> ModelVersion | None:
    """Return the version with the alias `champion`, or None."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(model_name, CHAMPION)
    except MlflowException as error:
        absent = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), "INVALID_PARAMETER_VALUE")
        if error.error_code in absent:  # no such model, or none with that alias
            return None
        raise


def decide(
    promotion: str, metric: str, challenger: dict[str, float], incumbent: Incumbent | None
) -> Decision:
    """Decide by the parameter `promotion`.

    Args:
        promotion: "always", or "better": a higher `metric`. "auto" acts as "better".
        metric: the champion metric.
        challenger: the challenger's metrics on the test rows.
        incumbent: the champion on the same rows, if there is one.
    """
    if incumbent is None:
        return Decision(True, "it is the first champion of this name")
    name = f"version {incumbent.version}"
    if incumbent.metrics is None:
        return Decision(True, f"{name} cannot be scored on this data: {incumbent.problem}")
    ours, theirs = challenger[metric], incumbent.metrics[metric]
    figures = f"test {metric} {ours:.4f} against {theirs:.4f} of {name}"
    if promotion == "always":
        return Decision(True, f"promotion=always ({figures})")
    if ours > theirs:
        return Decision(True, f"it is better: {figures}")
    return Decision(False, f"it is not better: {figures}")
