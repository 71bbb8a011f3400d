"""The three splits as a run leaves them in MLflow, and as the next steps read them."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
from mlflow.data.pandas_dataset import from_pandas
from mlflow.exceptions import MlflowException
from mlflow.types import ColSpec, DataType, Schema

from serving.scorer import Feature
from steps.pipeline.dataset_source import RunArtifactSource
from steps.pipeline.errors import ParameterError
from steps.pipeline.progress import spent_on
from steps.pipeline.reference import describe

if TYPE_CHECKING:  # the steps that read splits need not load what checks a table
    from steps.pipeline.table import SplitTable

FOLDER = "splits"
TIMES = "times.parquet"
DESCRIPTION = "splits.json"
# Small row groups let Spark divide the file, in the same way on every machine.
ROW_GROUP = 20_000


@dataclass(frozen=True)
class Description:
    """What is known about the splits without reading them.

    `digests` are those of the Parquet files' bytes; `latest` is the last time in each split,
    as text; `reference` describes the training rows (see `steps.pipeline.reference`).
    """

    source: str
    target: str
    time_column: str
    split: str
    duplicates: int
    rows: dict[str, int]
    positives: dict[str, int]
    digests: dict[str, str]
    latest: dict[str, str]
    features: list[dict[str, Any]]
    reference: dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One split: features of shape (n_rows, n_features), target of shape (n_rows,)."""

    name: str
    file: Path
    frame: pd.DataFrame
    features: list[str]
    target: str

    @property
    def X(self) -> pd.DataFrame:
        """The features."""
        return self.frame[self.features]

    @cached_property
    def y(self) -> npt.NDArray[np.int64]:
        """The target, 0 or 1."""
        return self.frame[self.target].to_numpy()


class Splits:
    """The splits of one `load_data` run, downloaded part by part when they are first used."""

    def __init__(self, run_id: str, folder: Path) -> None:
        self.run_id = run_id
        self._folder = folder
        try:
            file = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=f"{FOLDER}/{DESCRIPTION}", dst_path=str(folder)
            )
        except (MlflowException, OSError) as error:
            raise ParameterError(
                f"run {run_id} holds no splits: pass the id of a finished load_data run ({error})"
            ) from None
        self.description = Description(**json.loads(Path(file).read_text()))

    @property
    def target(self) -> str:
        """The name of the target column."""
        return self.description.target

    @property
    def features(self) -> list[Feature]:
        """The input columns, in the order of the files."""
        return [Feature(**feature) for feature in self.description.features]

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [feature.name for feature in self.features]

    @property
    def has_missing(self) -> bool:
        """Whether the training rows have missing values."""
        return any(feature.nullable for feature in self.features)

    @cached_property
    def training(self) -> Part:
        """The rows that candidates are fitted on."""
        return self._part("training")

    @cached_property
    def validation(self) -> Part:
        """The rows that candidates are compared on."""
        return self._part("validation")

    @cached_property
    def test(self) -> Part:
        """The untouched rows, for the champion and the incumbent only."""
        return self._part("test")

    def all_rows(self) -> pd.DataFrame:
        """Return the rows of all parts in their order, with their times if they have any."""
        parts = (self.training, self.validation, self.test)
        frame = pd.concat([part.frame for part in parts], ignore_index=True)
        return frame if self._times is None else pd.concat([self._times, frame], axis=1)

    def times_of(self, part: Part) -> "pd.Series[Any] | None":
        """Return when the rows of `part` were; None if the table had no time."""
        if self._times is None:
            return None
        names = list(self.description.rows)
        first = sum(self.description.rows[name] for name in names[: names.index(part.name)])
        times = self._times.iloc[first : first + len(part.frame), 0]
        return times.reset_index(drop=True)

    @cached_property
    def _times(self) -> pd.DataFrame | None:
        if not any(self.description.latest.values()):
            return None
        path = mlflow.artifacts.download_artifacts(
            run_id=self.run_id, artifact_path=f"{FOLDER}/{TIMES}", dst_path=str(self._folder)
        )
        return pd.read_parquet(path)

    def training_and_validation(self) -> Part:
        """Return both as one part, in a file of its own: what a winner is fitted on again."""
        frame = pd.concat([self.training.frame, self.validation.frame], ignore_index=True)
        file = self._folder / "refit.parquet"
        write_parquet(frame, file)
        return Part("training and validation", file, frame, self.names, self.target)

    def log_inputs(self, *parts: Part) -> None:
        """Record on the active run which splits it reads, by the digests of `load_data`."""
        for part in parts:
            digest = self.description.digests[part.name]
            _log_input(part.frame, self.run_id, self.target, part.name, digest)

    def _part(self, name: str) -> Part:
        with spent_on("data"):
            path = mlflow.artifacts.download_artifacts(
                run_id=self.run_id,
                artifact_path=f"{FOLDER}/{name}.parquet",
                dst_path=str(self._folder),
            )
            return Part(name, Path(path), pd.read_parquet(path), self.names, self.target)


def log_splits(table: "SplitTable", source: str, target: str, time_column: str) -> Description:
    """Log `table` as artifacts and dataset inputs of the active run.

    Args:
        table: the checked and split rows.
        source: what the user passed as `data`.
        target: the name of the target column.
        time_column: the name of the column that ordered the rows, or empty.

    Returns:
        What was logged as description.
    """
    run = mlflow.active_run()
    assert run is not None, "log_splits works inside a run"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digests = {}
        for name, frame in table.parts.items():
            digests[name] = write_parquet(frame, folder / f"{name}.parquet")
            _log_input(frame, run.info.run_id, target, name, digests[name])
        if table.times is not None:
            in_order = [table.times[part.index] for part in table.parts.values()]
            pd.concat(in_order).to_frame(time_column).to_parquet(folder / TIMES, index=False)
        # A schema, not a fit: a gap that first comes later must not stop the engines.
        missing = pd.concat(
            [part[table.features].isna().any() for part in table.parts.values()], axis=1
        ).any(axis=1)
        description = Description(
            source=source,
            target=target,
            time_column=time_column,
            split=table.kind,
            duplicates=table.duplicates,
            rows={name: len(frame) for name, frame in table.parts.items()},
            positives={name: int(frame[target].sum()) for name, frame in table.parts.items()},
            digests=digests,
            latest=table.latest,
            features=[
                asdict(Feature(name, nullable=bool(missing[name]))) for name in table.features
            ],
            reference=describe(table.training[table.features]),
        )
        (folder / DESCRIPTION).write_text(json.dumps(asdict(description), indent=1) + "\n")
        mlflow.log_artifacts(temporary, FOLDER)
    return description


@contextmanager
def open_splits(run_id: str) -> Iterator[Splits]:
    """Give the splits of a `load_data` run; their local copies go away afterwards.

    Raises:
        ParameterError: the run does not exist or holds no splits.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-") as folder:
        yield Splits(run_id, Path(folder))


def write_parquet(frame: pd.DataFrame, file: Path) -> str:
    """Write `frame` to `file`; return a digest of its bytes (36 characters at most)."""
    frame.to_parquet(file, index=False, row_group_size=ROW_GROUP)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]


def _log_input(frame: pd.DataFrame, run_id: str, target: str, name: str, digest: str) -> None:
    """Log one split as a dataset of the active run. MLflow's own digest sees 10,000 rows only."""
    source = RunArtifactSource(f"runs:/{run_id}/{FOLDER}/{name}.parquet")
    split = from_pandas(frame, source=source, targets=target, name=name, digest=digest)
    # MLflow would look at every value to infer what is known: seconds for each candidate.
    vars(split)["schema"] = Schema(
        [
            ColSpec(DataType.long if column == target else DataType.double, column)
            for column in frame.columns
        ]
    )
    mlflow.log_input(split, context=name)
