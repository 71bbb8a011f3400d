"""Splits as artifacts and dataset inputs of MLflow runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

import mlflow
from mlflow.exceptions import MlflowException

from steps.data.dataset_source import RunArtifactSource
from steps.data.split_dataset import SplitDataset
from steps.data.splits import Split, Splits
from steps.runtime.active_run import active_run
from steps.runtime.errors import ParameterError

FOLDER = "splits"


class LoggedSplits(Splits):
    """The splits of a `load_data` run; each file is downloaded on first use.

    Attributes:
        run_id: the run that logged them.
    """

    def __init__(self, run_id: str, folder: Path) -> None:
        self.run_id = run_id
        self._downloaded: dict[str, Path] = {}
        try:
            super().__init__(folder)
        except (MlflowException, OSError) as error:
            raise ParameterError(
                f"data_run_id: run {run_id} has no splits; pass the id of a finished load_data "
                f"run ({error})"
            ) from None

    def log_inputs(self, *splits: Split) -> None:
        """Log which splits the active run reads, with the digests that `load_data` computed."""
        for split in splits:
            _log_input(self, self.run_id, split.name)

    def optional_file(self, name: str) -> Path | None:
        """Return a file that only some splits have; None if these have none."""
        return self._file(name) if name in self._names else None

    @cached_property
    def _names(self) -> set[str]:
        found = mlflow.artifacts.list_artifacts(run_id=self.run_id, artifact_path=FOLDER)
        return {PurePosixPath(artifact.path).name for artifact in found}

    def _file(self, name: str) -> Path:
        if name not in self._downloaded:
            path = f"{FOLDER}/{name}"
            file = mlflow.artifacts.download_artifacts(
                run_id=self.run_id, artifact_path=path, dst_path=str(self._folder)
            )
            self._downloaded[name] = Path(file)
        return self._downloaded[name]


@contextmanager
def open_splits(run_id: str) -> Iterator[LoggedSplits]:
    """Provide the splits of a `load_data` run; delete their local copies on exit.

    Raises:
        ParameterError: the run does not exist or has no splits.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        yield LoggedSplits(run_id, Path(folder))


@contextmanager
def new_splits_folder() -> Iterator[Path]:
    """Provide a folder for splits that are to be logged; delete it on exit."""
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        yield Path(folder)


def log_splits(splits: Splits, folder: Path) -> None:
    """Log the splits in `folder` as artifacts and dataset inputs of the active run."""
    for name in splits.description.rows:
        _log_input(splits, active_run().info.run_id, name)
    mlflow.log_artifacts(str(folder), FOLDER)


def _log_input(splits: Splits, run_id: str, name: str) -> None:
    source = RunArtifactSource(f"runs:/{run_id}/{FOLDER}/{name}.parquet")
    mlflow.log_input(SplitDataset(source, name, splits.description), context=name)
