"""Pending changes of champion: their record on the version, and the heartbeat of their process."""

import json
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Self

import mlflow
from mlflow.exceptions import MlflowException

from serving.model.mlflow_model import is_absent
from steps.runtime.locks import lock_folder_id

# Tags of the version whose change is pending: the change, and the last sign of life of its process.
PENDING = "becoming_champion"
HEARTBEAT = "becoming_champion.heartbeat"
HEARTBEAT_SECONDS = 10.0
SILENCE_SECONDS = 120.0
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class PendingChange:
    """A change of champion in progress, stored as a tag of the version that becomes champion.

    Attributes:
        by: Entry point that makes the change, `select_champion`, `rollback` or `monitor`.
        run_id: Run of that entry point.
        after: Version of the champion before; empty if there is none.
        reason: Explanation for people.
        machine: Host name of the process that makes the change.
        locks: Identifier of its folder of locks; empty if an earlier release makes the change.
        started: Time at which it began, in ISO 8601.
    """

    by: str
    run_id: str
    after: str
    reason: str
    machine: str
    locks: str
    started: str

    @classmethod
    def of_this_process(cls, by: str, run_id: str, after: str, reason: str) -> Self:
        """Describe a change that this process is about to make."""
        now = datetime.now(UTC).isoformat()
        return cls(by, run_id, after, reason, platform.node(), lock_folder_id(), now)

    @classmethod
    def from_tag(cls, text: str) -> Self:
        """Read a change from the value of its tag, also as earlier releases wrote it."""
        content = {"locks": "", "started": datetime.now(UTC).isoformat()} | json.loads(text)
        return cls(**{field.name: content[field.name] for field in fields(cls)})

    @property
    def as_tags(self) -> dict[str, str]:
        """The tags of the version that becomes champion."""
        return {HEARTBEAT: str(time.time()), PENDING: json.dumps(asdict(self))}

    @property
    def shares_our_locks(self) -> bool:
        """Whether it was made under the locks of this process.

        Host names alone would not tell: containers may share one.
        """
        return (self.machine, self.locks) == (platform.node(), lock_folder_id())


@contextmanager
def heartbeat(model_name: str, version: str) -> Iterator[None]:
    """Renew the heartbeat of a pending change until the context exits."""
    client = mlflow.MlflowClient()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            with suppress(MlflowException):  # the change itself will fail, too
                client.set_model_version_tag(model_name, version, HEARTBEAT, str(time.time()))

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        delete_heartbeat(model_name, version)


def delete_heartbeat(model_name: str, version: str) -> None:
    """Delete the heartbeat of a change that has ended, if its version still exists."""
    with suppress(MlflowException):
        mlflow.MlflowClient().delete_model_version_tag(model_name, version, HEARTBEAT)


def is_pending(model_name: str, version: str) -> bool:
    """Return whether `version` exists and its change has not been completed."""
    return _last_heartbeat(model_name, version) is not None


def wait_for_end_or_silence(model_name: str, version: str) -> bool:
    """Wait until a pending change of another machine ends, or its process is silent for too long.

    Returns:
        Whether the change is still pending, and its process silent.
    """
    last = _last_heartbeat(model_name, version)
    # The clocks of two machines may differ: at least two heartbeats must be missed here.
    age = time.time() - float(last or 0)
    patience = min(SILENCE_SECONDS, max(SILENCE_SECONDS - age, 2 * HEARTBEAT_SECONDS))
    silent_since = time.monotonic()
    while last is not None:
        if time.monotonic() - silent_since >= patience:
            return True
        time.sleep(POLL_SECONDS)
        if (newest := _last_heartbeat(model_name, version)) != last:
            last, patience, silent_since = newest, SILENCE_SECONDS, time.monotonic()
    return False


def _last_heartbeat(model_name: str, version: str) -> str | None:
    """Return the heartbeat of a change; "0" if it has none, None if it is not pending."""
    try:
        tags = mlflow.MlflowClient().get_model_version(model_name, version).tags
    except MlflowException as error:
        if is_absent(error):
            return None
        raise
    return tags.get(HEARTBEAT, "0") if PENDING in tags else None
