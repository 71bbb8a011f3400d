"""What goes into a served champion and what comes out, in MLflow's terms."""

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from serving.scorer import Manifest


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
