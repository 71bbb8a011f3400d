"""Resumable scoring jobs and the folder of their unfinished output.

A run may be killed at any time, yet a folder of unfinished output always identifies its job: the
job file is written before the folder gets its name, and deleted after the folder loses it.
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

from serving.model.prediction import ModelIdentity
from serving.private_files import create_export_folder
from steps.batch.input import BatchInput
from steps.runtime.errors import BusyError, ParameterError
from steps.runtime.locks import machine_lock

logger = logging.getLogger("ml-pipes")

# Readers of a Parquet folder skip names that begin with a dot.
JOB_FILE = ".job.json"


@dataclass(frozen=True)
class ScoringJob:
    """Everything that must be equal for unfinished output to be resumed.

    Attributes:
        files: URIs of the input files, with sizes and modification times.
        columns: columns of the input.
        parts: number of parts that the input is divided into.
        model: the champion, including its run: a registered model that was deleted and trained
            again restarts at version 1.
    """

    files: list[str]
    columns: list[str]
    parts: int
    model: ModelIdentity

    @classmethod
    def of(cls, table: BatchInput, model: ModelIdentity) -> "ScoringJob":
        """Return the job of scoring `table` with `model`."""
        return cls(table.files, table.table.columns, table.parts, model)

    @property
    def key(self) -> str:
        """SHA-256 digest of the job."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def open_folder(self, folder: Path) -> None:
        """Create the folder for unfinished output, or resume one that this job left.

        Raises:
            ParameterError: the folder belongs to another job, or cannot be created.
        """
        try:
            if not folder.exists():
                hidden = _empty_hidden_path(folder)
                create_export_folder(hidden)
                (hidden / JOB_FILE).write_text(json.dumps(asdict(self), indent=1))
                hidden.rename(folder)
            found = json.loads((folder / JOB_FILE).read_text())
        except (OSError, ValueError) as error:
            raise ParameterError(f"output: cannot use {folder}: {error}") from error
        if found != asdict(self):
            raise ParameterError(
                f"output: {folder} holds the unfinished output of another input or champion; "
                "remove it or choose another name"
            )
        if done := len(list(folder.glob("part-*.parquet"))):
            logger.info("%s: resuming with %s of %s parts already done", folder, done, self.parts)


@contextmanager
def exclusive_output(output: Path) -> Iterator[None]:
    """Lock `output` against other processes on this machine.

    Raises:
        BusyError: another process is writing it.
        ParameterError: another process has created it since the parameters were checked.
    """
    try:
        lock = machine_lock(f"output {output.resolve()}").acquire(blocking=False)
    except Timeout:
        raise BusyError(
            f"output: another process is writing {output}; wait or choose another name"
        ) from None
    with lock:
        if output.exists():
            raise ParameterError(
                f"output: {output} was just created by another process; choose another name"
            )
        yield


def discard(folder: Path) -> None:
    """Delete unfinished output."""
    hidden = _empty_hidden_path(folder)
    folder.rename(hidden)
    shutil.rmtree(hidden)


def finish(folder: Path, output: Path) -> None:
    """Rename finished output to its final name.

    Raises:
        ParameterError: the name is taken, or the folder cannot be renamed.
    """
    for partial in folder.glob(".part-*"):  # left by killed workers
        partial.unlink(missing_ok=True)
    try:
        folder.rename(output)
    except OSError as error:
        raise ParameterError(
            f"output: {folder} is complete but cannot be renamed to {output}: {error.strerror}; "
            "resolve this and run the same command again"
        ) from error
    (output / JOB_FILE).unlink()


def _empty_hidden_path(folder: Path) -> Path:
    """Return the hidden path where `folder` is prepared and deleted, after clearing it."""
    hidden = folder.with_name(f".{folder.name}")
    if hidden.exists():
        shutil.rmtree(hidden)
    return hidden
