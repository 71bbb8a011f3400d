"""A job of batch scoring: what is scored, by what, and the folder of its unfinished work."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from serving.prediction import ModelIdentity
from steps.pipeline.batch_input import BatchInput
from steps.pipeline.errors import ParameterError

log = logging.getLogger("ml-pipes")

NOTE = "job.json"


@dataclass(frozen=True)
class Job:
    """What is scored, by what: all that must be the same to go on with unfinished work.

    Attributes:
        files: of the input, with their sizes and times of change.
        columns: of the input.
        parts: into how many parts it is divided.
        model: the champion; with its run, since a registered model that is deleted and trained
            again begins at version 1 again.
    """

    files: list[str]
    columns: list[str]
    parts: int
    model: ModelIdentity

    @classmethod
    def of(cls, source: BatchInput, model: ModelIdentity) -> "Job":
        """Describe the scoring of `source` by `model`."""
        return cls(source.files, source.table.columns, source.parts, model)

    @property
    def key(self) -> str:
        """A digest of it."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def resume_in(self, folder: Path) -> None:
        """Make the folder for unfinished work, or take what an interrupted run left there.

        Raises:
            ParameterError: it holds the work of another job, or cannot be made.
        """
        note = folder / NOTE
        try:
            if not folder.exists():
                folder.mkdir()
                note.write_text(json.dumps(asdict(self), indent=1))
            found = json.loads(note.read_text())
        except (OSError, ValueError) as error:
            raise ParameterError(f"output: {folder} cannot be used: {error}") from error
        if found != asdict(self):
            raise ParameterError(
                f"output: {folder} holds unfinished work on another input or with another "
                "champion: remove it, or take another name"
            )
        if done := len(list(folder.glob("part-*.parquet"))):
            log.info("%s: %s of %s parts are there already", folder, done, self.parts)
