"""Changes of champion: promotions and rollbacks, one at a time, with recovery after a kill.

A change moves the alias `champion` and then whatever follows from it: the aliases `previous` and
`challenger`, the stage and the history. Until all of that is done, the new champion's version
carries a tag that describes the change, and a heartbeat. The next change completes or discards an
interrupted one: at once if the same locks guarded it, else, on any machine, after two minutes
without a heartbeat.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import mlflow
from filelock import Timeout
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.model.mlflow_model import is_absent
from steps.registry.anchor import ANCHOR, find_anchor
from steps.registry.challengers import challenger_version, withdraw_challenger
from steps.registry.history import add_to_history, champion_history
from steps.registry.pending_change import (
    PENDING,
    PendingChange,
    delete_heartbeat,
    heartbeat,
    is_pending,
    wait_for_end_or_silence,
)
from steps.registry.versions import CHAMPION, PREVIOUS, find_champion
from steps.runtime.errors import RegistryError
from steps.runtime.locks import model_lock

logger = logging.getLogger("ml-pipes")

STAGE = "Production"
# The entry points that change the champion.
SELECTION, ROLLBACK, MONITORING = "select_champion", "rollback", "monitor"
# Tag of a selection's run, set before the lock is released: whether its winner became champion.
PROMOTED = "promoted"


@contextmanager
def exclusive_champion_change(model_name: str) -> Iterator[list[PendingChange]]:
    """Hold this machine's lock on the champion of `model_name`; yield the recovered changes.

    Interrupted changes are completed or discarded first; the completed ones are yielded. The lock
    does not cover other machines, because the MLflow registry has none: their pending changes are
    waited for, and `register_champion` detects most of those that begin at the same time.
    """
    lock = model_lock(model_name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logger.info("waiting for another change of the champion of %s to end", model_name)
        lock.acquire()
    try:
        yield _recover_interrupted_changes(model_name)
    finally:
        lock.release()


def register_champion(
    model_uri: str, model_name: str, tags: dict[str, str], description: str, incumbent: str | None
) -> str:
    """Register a version, make it the champion, and return its number.

    The incumbent becomes `previous`. The alias `champion` moves once the version is complete; if
    anything fails before that, the version is deleted.

    Args:
        model_uri: the logged model.
        model_name: the registered model.
        tags: tags of the version; `selection_run_id` and `decision` are required.
        description: its model card.
        incumbent: version that the challenger was compared with; None if there was none.

    Raises:
        RegistryError: the champion has changed since the comparison.
    """
    client = mlflow.MlflowClient()
    change = PendingChange.of_this_process(
        SELECTION, tags["selection_run_id"], incumbent or "", tags["decision"]
    )
    try:
        registered = mlflow.register_model(model_uri, model_name, tags=tags | change.as_tags)
    except (MlflowException, OSError):
        _delete_model_without_versions(model_name)
        raise
    version = str(registered.version)
    with _change_in_progress(model_name, version, change):
        client.update_model_version(model_name, version, description)
        present = find_champion(model_name)
        if (present and str(present.version)) != incumbent:
            raise RegistryError(
                f"another machine changed the champion of {model_name} during this selection: "
                "run it again"
            )
        client.set_registered_model_alias(model_name, CHAMPION, version)
    return version


def roll_back_to(model_name: str, version: str, instead_of: str, run_id: str) -> None:
    """Make an earlier `version` the champion again; the present champion becomes `previous`."""
    reason = f"rolled back from version {instead_of}"
    _change_to(
        model_name, version, PendingChange.of_this_process(ROLLBACK, run_id, instead_of, reason)
    )


def promote_challenger(
    model_name: str, version: str, instead_of: str, run_id: str, reason: str, anchor: str
) -> None:
    """Make a registered challenger the champion; the present champion becomes `previous`.

    Args:
        model_name: the registered model.
        version: the challenger's version.
        instead_of: the present champion.
        run_id: the monitoring run that compared them.
        reason: the decision.
        anchor: the challenger's anchor as champion, or SELF.
    """
    client = mlflow.MlflowClient()
    for name, value in {ANCHOR: anchor, "decision": reason}.items():
        client.set_model_version_tag(model_name, version, name, value)
    _change_to(
        model_name, version, PendingChange.of_this_process(MONITORING, run_id, instead_of, reason)
    )


def _change_to(model_name: str, version: str, change: PendingChange) -> None:
    """Make a version that is registered already the champion."""
    client = mlflow.MlflowClient()
    for name, value in change.as_tags.items():
        client.set_model_version_tag(model_name, version, name, value)
    with _change_in_progress(model_name, version, change):
        client.set_registered_model_alias(model_name, CHAMPION, version)


def resume_interrupted_promotion(model_name: str, model_run_id: str) -> ModelVersion | None:
    """Mark a selection as promoted that was killed after it had promoted this model.

    Returns:
        The champion, if it is this model and its selection was killed; else None.
    """
    champion = find_champion(model_name)
    if champion is None or champion.tags.get("model_run_id") != model_run_id:
        return None
    try:
        selection = mlflow.get_run(champion.tags["selection_run_id"])
    except MlflowException as error:
        if is_absent(error):
            return None
        raise
    deleted = selection.info.lifecycle_stage == LifecycleStage.DELETED
    if deleted or PROMOTED in selection.data.tags:
        return None
    mlflow.MlflowClient().set_tag(selection.info.run_id, PROMOTED, "true")
    return champion


@contextmanager
def _change_in_progress(model_name: str, version: str, change: PendingChange) -> Iterator[None]:
    """Show signs of life during a change; complete or discard it on exit."""
    with heartbeat(model_name, version):
        try:
            yield
        finally:
            _complete_or_discard(model_name, version, change)


def _recover_interrupted_changes(model_name: str) -> list[PendingChange]:
    """Complete or discard each interrupted change; return those that were completed."""
    completed = []
    for found in mlflow.MlflowClient().search_model_versions(f"name = '{model_name}'"):
        if not (tag := found.tags.get(PENDING)):
            continue
        version, change = str(found.version), PendingChange.from_tag(tag)
        if not _was_interrupted(model_name, version, change):
            continue
        if _complete_or_discard(model_name, version, change):
            logger.info("completed an interrupted %s of %s", change.by, model_name)
            completed.append(change)
        delete_heartbeat(model_name, version)
    return completed


def _was_interrupted(model_name: str, version: str, change: PendingChange) -> bool:
    """Return whether the process of a change has ended, or was silent for too long.

    The caller holds the lock of the model, so no process that shares it is changing the champion.
    """
    if change.shares_our_locks:
        return True
    logger.info(
        "waiting for a %s of %s on %s to end, at most two minutes after its last heartbeat",
        change.by,
        model_name,
        change.machine,
    )
    return wait_for_end_or_silence(model_name, version)


def _complete_or_discard(model_name: str, version: str, change: PendingChange) -> bool:
    """Complete a change if `version` has the alias `champion`, else discard it.

    A change that another machine has completed or discarded is left alone.

    Returns:
        Whether the change was completed.
    """
    if not is_pending(model_name, version):
        return False
    champion = find_champion(model_name)
    if champion is not None and str(champion.version) == version:
        _complete(model_name, version, change)
        return True
    _discard(model_name, version, change)
    return False


def _complete(model_name: str, version: str, change: PendingChange) -> None:
    """Update all that follows from the alias; harmless where it has been done before."""
    client = mlflow.MlflowClient()
    versions = client.search_model_versions(f"name = '{model_name}'")
    if change.after in {str(found.version) for found in versions}:  # it may have been deleted
        client.set_registered_model_alias(model_name, PREVIOUS, change.after)
    # The challenger won an earlier selection; the winner of a newer one has been promoted.
    if change.by == SELECTION or challenger_version(model_name) == version:
        withdraw_challenger(model_name)
    _set_stage(model_name, version)
    changes = champion_history(model_name)
    if not changes or changes[-1].version != version:
        started = datetime.fromisoformat(change.started)
        add_to_history(
            model_name, started, version, change.after, change.by, change.run_id, change.reason,
            find_anchor(model_name, version),
        )  # fmt: skip
    client.delete_model_version_tag(model_name, version, PENDING)


def _discard(model_name: str, version: str, change: PendingChange) -> None:
    """Delete the version that a selection has registered; keep one that has been champion."""
    client = mlflow.MlflowClient()
    was_champion = version in {champion.version for champion in champion_history(model_name)}
    if change.by != SELECTION or was_champion:
        client.delete_model_version_tag(model_name, version, PENDING)
        return
    logger.info("deleting version %s of %s, which was not promoted", version, model_name)
    with _absence_accepted():
        client.delete_model_version(model_name, version)
    _delete_model_without_versions(model_name)


def _delete_model_without_versions(model_name: str) -> None:
    client = mlflow.MlflowClient()
    with _absence_accepted():
        if not client.search_model_versions(f"name = '{model_name}'"):
            client.delete_registered_model(model_name)


@contextmanager
def _absence_accepted() -> Iterator[None]:
    """Accept that another machine has deleted the same."""
    try:
        yield
    except MlflowException as error:
        if not is_absent(error):
            raise


def _set_stage(model_name: str, version: str) -> None:
    """Move `version` to the stage Production, as long as MLflow has stages."""
    client = mlflow.MlflowClient()
    if not hasattr(client, "transition_model_version_stage"):
        return
    with warnings.catch_warnings():
        # Stages are deprecated, but people still look for them.
        warnings.filterwarnings("ignore", category=FutureWarning)
        # Not archive_existing_versions: MLflow 3.17 fails at it on PostgreSQL with psycopg 3.
        for other in client.search_model_versions(f"name = '{model_name}'"):
            if other.current_stage == STAGE and str(other.version) != version:
                client.transition_model_version_stage(model_name, other.version, "Archived")
        client.transition_model_version_stage(model_name, version, STAGE)
