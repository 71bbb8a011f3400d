"""Champion changes killed at any write to the registry."""

import json
import platform
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import mlflow
import pytest
from mlflow import MlflowClient

from steps.registry import pending_change
from steps.registry.champion_changes import (
    SELECTION,
    exclusive_champion_change,
    resume_interrupted_promotion,
    roll_back_to,
)
from steps.registry.history import add_to_history, champion_history
from steps.registry.pending_change import HEARTBEAT, PENDING, PendingChange, heartbeat
from steps.rollback import version_with_alias

START = datetime(2026, 1, 1, tzinfo=UTC)


class KilledError(BaseException):
    """As by SIGKILL: nothing that the process still wants to do comes about."""


@pytest.fixture
def two_versions(empty_registry, tmp_path, monkeypatch) -> Iterator[MlflowClient]:
    """Versions 1 and 2 of a model, of which 2 is champion."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    client = MlflowClient()
    client.create_registered_model("fraud")
    for _ in range(2):
        client.create_model_version("fraud", str(tmp_path))
    client.set_registered_model_alias("fraud", "champion", "2")
    client.set_registered_model_alias("fraud", "previous", "1")
    add_to_history("fraud", START, "2", "1", SELECTION, "run", "better")
    yield client
    client.delete_registered_model("fraud")


WRITES = (
    "set_model_version_tag",
    "set_registered_model_alias",
    "transition_model_version_stage",
    "set_registered_model_tag",
    "delete_model_version_tag",
)


def kill_after_writes(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many writes to the registry come about, and none after them."""
    left = [writes]

    def counted(write):
        def wrapper(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                raise KilledError
            return write(*arguments, **named)

        return wrapper

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))


@pytest.mark.parametrize("writes", range(9))
def test_killed_rollback_is_finished_or_undone(two_versions, monkeypatch, writes):
    with monkeypatch.context() as patched:
        kill_after_writes(writes, patched)
        killed = False
        try:
            roll_back_to("fraud", "1", instead_of="2", run_id="run")
        except KilledError:
            killed = True
    assert killed == (writes < 8)
    with exclusive_champion_change("fraud") as finished:
        aliases = [version_with_alias("fraud", alias) for alias in ("champion", "previous")]
    went_back = writes >= 3
    assert aliases == (["1", "2"] if went_back else ["2", "1"])
    assert len(finished) == (3 <= writes < 7)
    changes = [(change.version, change.after, change.by) for change in champion_history("fraud")]
    assert changes[1:] == ([("1", "2", "rollback")] if went_back else [])
    for version in two_versions.search_model_versions():
        assert PENDING not in version.tags


@pytest.fixture
def pending_promotion(two_versions) -> PendingChange:
    """Version 3 has just got the alias `champion` when its process stops."""
    change = PendingChange.of_this_process(SELECTION, "run", "2", "better")
    two_versions.create_model_version("fraud", "nowhere", tags=change.as_tags)
    two_versions.set_registered_model_alias("fraud", "champion", "3")
    return change


@pytest.fixture
def on_another_machine(monkeypatch, tmp_path) -> None:
    """Continue as a process of a machine with another name and with locks of its own."""
    monkeypatch.setattr(platform, "node", lambda: "another")
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(pending_change, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(pending_change, "SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(pending_change, "POLL_SECONDS", 0.05)


@pytest.mark.parametrize(("after", "previous"), [("2", "2"), ("deleted since", "1")])
def test_killed_promotion_is_finished(two_versions, after, previous):
    change = PendingChange.of_this_process(SELECTION, "run", after, "better")
    two_versions.create_model_version("fraud", "nowhere", tags=change.as_tags)
    two_versions.set_registered_model_alias("fraud", "champion", "3")
    with exclusive_champion_change("fraud") as finished:
        assert finished == [change]
    assert version_with_alias("fraud", "previous") == previous
    assert champion_history("fraud")[-1].version == "3"
    assert not {PENDING, HEARTBEAT} & two_versions.get_model_version("fraud", "3").tags.keys()


@pytest.mark.usefixtures("pending_promotion", "on_another_machine")
def test_silent_change_is_finished_by_another_machine(pending_promotion):
    began = time.monotonic()
    with exclusive_champion_change("fraud") as finished:
        assert finished == [pending_promotion]
    assert time.monotonic() - began > 1
    assert version_with_alias("fraud", "previous") == "2"
    with exclusive_champion_change("fraud") as finished:
        assert finished == []
    assert [change.version for change in champion_history("fraud")] == ["2", "3"]


@pytest.mark.usefixtures("pending_promotion", "on_another_machine")
def test_change_with_heartbeat_is_waited_for(two_versions):
    done = threading.Event()

    def end() -> None:
        with heartbeat("fraud", "3"):
            time.sleep(3)  # twice the silence after which a change counts as interrupted
            done.set()
            two_versions.delete_model_version_tag("fraud", "3", PENDING)

    owner = threading.Thread(target=end)
    owner.start()
    with exclusive_champion_change("fraud") as finished:
        assert done.is_set()
        assert finished == []
    owner.join()


@pytest.mark.usefixtures("pending_promotion", "on_another_machine")
def test_two_machines_finish_a_change_once(pending_promotion, monkeypatch, tmp_path):
    """Both have found the heartbeat silent, so both finish it."""
    with exclusive_champion_change("fraud"):
        pass
    MlflowClient().set_model_version_tag("fraud", "3", PENDING, pending_promotion.as_tags[PENDING])
    monkeypatch.setattr(platform, "node", lambda: "third")
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "third"))
    with exclusive_champion_change("fraud"):
        pass
    assert [change.version for change in champion_history("fraud")] == ["2", "3"]
    assert version_with_alias("fraud", "previous") == "2"


@pytest.mark.usefixtures("two_versions", "on_another_machine")
def test_unpromoted_version_of_silent_change_is_deleted(two_versions):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(platform, "node", lambda: "one")
        tags = PendingChange.of_this_process(SELECTION, "run", "2", "better").as_tags
    two_versions.create_model_version("fraud", "nowhere", tags=tags | {HEARTBEAT: "0"})
    with exclusive_champion_change("fraud") as finished:
        assert finished == []
    assert {int(found.version) for found in two_versions.search_model_versions()} == {1, 2}


@pytest.mark.usefixtures("on_another_machine")
def test_change_of_an_earlier_release_is_finished(two_versions):
    """Its tag names a process id and has no heartbeat."""
    earlier = {"by": SELECTION, "run_id": "run", "after": "2", "reason": "better"}
    earlier |= {"machine": "one", "pid": 4_194_305, "since": 0.0}
    two_versions.create_model_version("fraud", "nowhere", tags={PENDING: json.dumps(earlier)})
    two_versions.set_registered_model_alias("fraud", "champion", "3")
    with exclusive_champion_change("fraud") as finished:
        assert [change.by for change in finished] == [SELECTION]
    assert [change.version for change in champion_history("fraud")] == ["2", "3"]


@pytest.mark.usefixtures("pending_promotion")
def test_former_champion_with_a_left_over_tag_is_kept(two_versions):
    add_to_history("fraud", datetime.now(UTC), "3", "2", SELECTION, "run", "better")
    two_versions.set_registered_model_alias("fraud", "champion", "2")
    with exclusive_champion_change("fraud"):
        pass
    assert PENDING not in two_versions.get_model_version("fraud", "3").tags


@pytest.mark.parametrize("purged", [False, True])
def test_promotion_whose_selection_was_deleted_is_not_resumed(two_versions, purged):
    """A deleted run cannot be tagged, and one that `mlflow gc` has removed cannot be read."""
    with mlflow.start_run() as selection:
        pass
    two_versions.delete_run(selection.info.run_id)
    selection_run_id = "0" * 32 if purged else selection.info.run_id
    tags = {"model_run_id": "model", "selection_run_id": selection_run_id}
    two_versions.create_model_version("fraud", "nowhere", tags=tags)
    two_versions.set_registered_model_alias("fraud", "champion", "3")
    assert resume_interrupted_promotion("fraud", "model") is None
