"""MLflow signature of a served champion."""

from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from serving.model.features import Feature
from serving.model.manifest import Manifest


def signature(manifest: Manifest) -> ModelSignature:
    """Return the signature of a served champion."""
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(type_of(feature), feature.name) for feature in manifest.features
    ]
    inputs.append(ColSpec(DataType.string, manifest.id_column, required=False))
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


def type_of(feature: Feature) -> DataType:
    """Return the type of a feature in MLflow's signature."""
    if feature.is_plain:
        return DataType.double
    # MLflow's server would turn the missing values of a boolean column into false.
    if feature.kind == "boolean" and not feature.levels and not feature.nullable:
        return DataType.boolean
    return DataType.string
