"""Errors as one line."""

import pytest
from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from serving.errors import one_line


class UnreadableRepository(ArtifactRepository):
    """Artifacts of which no file can be downloaded."""

    def log_artifact(self, local_file, artifact_path=None):
        raise NotImplementedError

    def log_artifacts(self, local_dir, artifact_path=None):
        raise NotImplementedError

    def list_artifacts(self, path=None):
        return [] if path == "scorer.onnx" else [FileInfo("scorer.onnx", False, 1)]

    def _download_file(self, remote_file_path, local_path):  # noqa: ARG002
        raise OSError("connection refused\nby the store")


@pytest.mark.quick
def test_failed_download_states_its_cause(tmp_path):
    with pytest.raises(MlflowException) as failed:
        UnreadableRepository("s3://models/1").download_artifacts("", str(tmp_path))
    assert one_line(failed.value) == (
        "The following failures occurred while downloading one or more artifacts from "
        "s3://models/1: connection refused"
    )


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("first\nsecond", "first"),
        ("first:", "first:"),
        ("first:\n\n  second", "first: second"),
        ("", "ValueError"),
    ],
)
def test_other_errors_are_one_line(text, shown):
    assert one_line(ValueError(text)) == shown
