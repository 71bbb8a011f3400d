"""A job of batch scoring: what is scored, by what, and the folder of its unfinished work.

A run may be killed at any instant. What it leaves is then whole, or the same job can go on with it:
a folder of unfinished work never stands without the note that says whose it is. It gets its name
when the note is in it, and gives it up before the note goes.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout

from serving.prediction import ModelIdentity
from steps.pipeline.batch_input import BatchInput
from steps.pipeline.errors import BusyError, ParameterError
from steps.pipeline.locks import lock_for

log = logging.getLogger("ml-pipes")

# What reads a folder of Parquet passes it over, since its name begins with a dot.
NOTE = ".job.json"


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
        try:
            if not folder.exists():
                aside = _emptied_aside(folder)
                aside.mkdir()
                (aside / NOTE).write_text(json.dumps(asdict(self), indent=1))
                aside.rename(folder)
            found = json.loads((folder / NOTE).read_text())
        except (OSError, ValueError) as error:
            raise ParameterError(f"output: {folder} cannot be used: {error}") from error
        if found != asdict(self):
            raise ParameterError(
                f"output: {folder} holds unfinished work on another input or with another "
                "champion: remove it, or take another name"
            )
        if done := len(list(folder.glob("part-*.parquet"))):
            log.info("%s: %s of %s parts are there already", folder, done, self.parts)


@contextmanager
def one_scoring(output: Path) -> Iterator[None]:
    """Let one process of this machine at a time make `output`.

    Raises:
        BusyError: another does.
        ParameterError: another has made it since the parameters were read.
    """
    try:
        held = lock_for(f"output {output.resolve()}").acquire(blocking=False)
    except Timeout:
        raise BusyError(
            f"output: {output} is being made by another process: wait, or take another name"
        ) from None
    with held:
        if output.exists():
            raise ParameterError(
                f"output: {output} was made by another process just now: take another name"
            )
        yield


def discard(folder: Path) -> None:
    """Remove unfinished work."""
    aside = _emptied_aside(folder)
    folder.rename(aside)
    shutil.rmtree(aside)


def finish(folder: Path, output: Path) -> None:
    """Give finished work its final name.

    Raises:
        ParameterError: something else has taken that name meanwhile.
    """
    for part in folder.glob(".part-*"):  # of workers that were killed
        part.unlink(missing_ok=True)
    try:
        folder.rename(output)
    except OSError as error:
        raise ParameterError(
            f"output: {folder} is complete, but cannot be renamed to {output}: {error.strerror}"
        ) from error
    (output / NOTE).unlink()


def _emptied_aside(folder: Path) -> Path:
    """Return the hidden place where `folder` is made and removed; what a kill left there goes."""
    aside = folder.with_name(f".{folder.name}")
    if aside.exists():
        shutil.rmtree(aside)
    return aside
