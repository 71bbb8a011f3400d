"""Splits as MLflow datasets."""

import json
from functools import cached_property
from typing import Any

from mlflow.data.dataset import Dataset
from mlflow.types import ColSpec, DataType, Schema

from steps.data.dataset_source import RunArtifactSource
from steps.data.splits import SplitsDescription

# The types in the files of splits, by the kind of feature.
TYPES = {
    "number": DataType.double,
    "boolean": DataType.boolean,
    "category": DataType.string,
    "date": DataType.datetime,
}


class SplitDataset(Dataset):
    """A split, with a digest of all its values.

    MLflow's own datasets need the rows in memory, and their digests cover 10,000 of them.
    """

    def __init__(
        self, source: RunArtifactSource, name: str, description: SplitsDescription
    ) -> None:
        self._description = description
        super().__init__(source, name, description.digests[name])

    def _compute_digest(self) -> str:
        raise NotImplementedError("the digest is computed when the split is written")

    @cached_property
    def schema(self) -> Schema:
        """The columns and their types."""
        columns = [
            ColSpec(TYPES[feature.get("kind", "number")], feature["name"])
            for feature in self._description.features
        ]
        return Schema([*columns, ColSpec(DataType.long, self._description.target)])

    @property
    def profile(self) -> dict[str, int]:
        """The numbers of rows and of values."""
        rows = self._description.rows[self.name]
        return {"num_rows": rows, "num_elements": rows * len(self.schema.inputs)}

    def to_dict(self) -> dict[str, Any]:
        """Return what MLflow stores, as for a pandas dataset."""
        schema = json.dumps({"mlflow_colspec": self.schema.to_dict()})
        return super().to_dict() | {"schema": schema, "profile": json.dumps(self.profile)}
