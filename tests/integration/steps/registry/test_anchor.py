"""The anchor of versions with and without a tag of their own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import mlflow
import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag

from steps.registry.anchor import ANCHOR, SELF, anchor_of
from steps.registry.history import add_to_history, champion_history
from tests.support.workspaces import Workspace, tracking_in

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def store(tmp_path) -> Iterator[None]:
    with tracking_in(Workspace(tmp_path)):
        mlflow.MlflowClient().create_registered_model("fraud")
        yield


def promote(version: str, after: str, reason: str, by: str = "select_champion") -> None:
    since = START + timedelta(days=len(champion_history("fraud")))
    add_to_history("fraud", since, version, after, by, "run", reason)


def version(number: str, **tags: str) -> ModelVersion:
    found = [ModelVersionTag(*tag) for tag in tags.items()]
    return ModelVersion("fraud", number, 0, tags=found)


def test_tag_names_the_anchor():
    assert anchor_of(version("7", **{ANCHOR: "3"})) == "3"
    assert anchor_of(version("7", **{ANCHOR: SELF})) == "7"


def test_anchor_of_earlier_releases_follows_from_the_history():
    promote("1", "", "it is the first champion of this model")
    promote("2", "1", "it was fitted on more rows and is not significantly worse: test ks")
    assert anchor_of(version("2")) == "1"
    promote("3", "2", "it is significantly better: test ks")
    promote("5", "3", "it was fitted on newer rows and is not significantly worse: test ks")
    promote("3", "5", "rolled back from version 5", by="rollback")
    promote("6", "3", "it is better: test ks")
    assert [anchor_of(version(number)) for number in "12356"] == ["1", "1", "3", "3", "3"]


def test_version_outside_the_history_is_its_own_anchor():
    assert anchor_of(version("4")) == "4"
