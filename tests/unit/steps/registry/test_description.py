"""The description of a registered model."""

from collections.abc import Iterator
from datetime import UTC, datetime

import mlflow
import pytest
from mlflow import MlflowClient

from steps.registry.description import update_description
from steps.registry.history import add_to_history

pytestmark = pytest.mark.quick


@pytest.fixture
def promote(empty_registry, tmp_path) -> Iterator:
    """A function that registers a version of the model `fraud` and makes it champion."""
    client = MlflowClient()
    client.create_registered_model("fraud")
    since = datetime(2026, 1, 1, tzinfo=UTC)

    def promoted(reason: str) -> None:
        with mlflow.start_run() as run:
            mlflow.log_metric("test_ks", 0.9)
        tags = {"engine": "h2o", "algorithm": "GBM_1", "metric": "ks", "decision": reason}
        version = client.create_model_version("fraud", str(tmp_path), run.info.run_id, tags)
        client.set_registered_model_alias("fraud", "champion", version.version)
        add_to_history("fraud", since, str(version.version), "", "select_champion", "run", reason)

    yield promoted
    client.delete_registered_model("fraud")


def description() -> str:
    return MlflowClient().get_registered_model("fraud").description


def test_description_follows_the_champion_and_its_versions(promote, tmp_path):
    promote("better than *any*")
    update_description("fraud")
    assert "Champion: [version 1](#/models/fraud/versions/1), GBM_1 (h2o)." in description()
    row = "| 2026-01-01 00:00 | [1](#/models/fraud/versions/1) | 0.9000 |"
    assert rf"{row} better than \*any\* |" in description()
    MlflowClient().create_model_version("fraud", str(tmp_path), tags={"decision": "a tie"})
    update_description("fraud")
    assert "[2](#/models/fraud/versions/2) |  | not promoted: a tie |" in description()


@pytest.mark.parametrize("written", ["Ask Ana.", None])
def test_description_of_a_user_is_kept(promote, written):
    promote("first")
    if written is None:
        update_description("fraud")
        written = f"{description()}\n\nAsk Ana."
    MlflowClient().update_registered_model("fraud", written)
    for _ in range(2):
        update_description("fraud")
    assert description() == written


def test_description_stays_within_the_limit_of_the_registry(promote):
    for _ in range(17):
        promote("|" * 400)
    update_description("fraud")
    assert len(description()) <= 5_000
