"""A dataset source of MLflow for artifacts of runs."""

from typing import Any, Self

import mlflow
from mlflow.data.dataset_source import DatasetSource

RUNS_URI = "runs:/"


class RunArtifactSource(DatasetSource):
    """An artifact of a run, runs:/RUN_ID/PATH.

    MLflow has sources for artifact stores, but none for artifacts that its server proxies.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @staticmethod
    def _get_source_type() -> str:
        return "run_artifact"

    def load(self, dst_path: str | None = None) -> str:
        """Download the artifact; return its local path."""
        path: str = mlflow.artifacts.download_artifacts(self.uri, dst_path=dst_path)
        return path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, str) and raw_source.startswith(RUNS_URI)

    @classmethod
    def _resolve(cls, raw_source: str) -> Self:
        return cls(raw_source)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON that MLflow stores."""
        return {"uri": self.uri}

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> Self:
        """Return the source that MLflow stored."""
        return cls(source_dict["uri"])
