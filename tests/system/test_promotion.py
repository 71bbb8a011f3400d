"""Entry points `select_champion` and `rollback`: promotion, rollback and concurrent selections."""

import pandas as pd
import pytest

from steps.registry.champion_changes import ROLLBACK, SELECTION
from steps.registry.pending_change import PENDING, PendingChange
from tests.support.workspaces import select


@pytest.fixture(scope="module")
def promoted_twice(workspace, step_runs) -> str:
    """A model whose second version was promoted over the first."""
    name = "duel"
    for promotion, outcome in (
        ("better", "first champion"),
        ("auto", "remains the champion: it is not significantly better"),
        ("always", "promotion=always"),
    ):
        done = select(workspace, step_runs, "pycaret", model_name=name, promotion=promotion)
        assert done.returncode == 0, done.stderr
        assert outcome in done.stderr
    return name


def test_promotion_moves_aliases_and_stages(workspace, promoted_twice):
    client, name = workspace.client, promoted_twice
    versions = client.search_model_versions(f"name = '{name}'")
    assert len(versions) == 2, "one that is not promoted is not registered"
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert int(client.get_model_version_by_alias(name, "previous").version) == 1
    stages = {int(v.version): v.current_stage for v in versions}
    assert stages == {1: "Archived", 2: "Production"}
    uses = [
        int(run.data.tags["test_uses"])
        for run in workspace.runs(f"params.model_name = '{name}'")
        if run.info.run_name == "select_champion"
    ]
    assert len(uses) == 3
    assert sorted(uses) == list(range(min(uses), min(uses) + 3)), "each selection counts one more"


def test_rollback_swaps_aliases_and_is_recorded(workspace, promoted_twice):
    client = workspace.client
    done = workspace.run("rollback", model_name=promoted_twice)
    assert done.returncode == 0, done.stderr
    assert "version 1 of duel is champion again, instead of 2" in done.stderr
    assert int(client.get_model_version_by_alias(promoted_twice, "champion").version) == 1
    assert int(client.get_model_version_by_alias(promoted_twice, "previous").version) == 2
    stages = [
        client.get_model_version(promoted_twice, number).current_stage for number in ("1", "2")
    ]
    assert stages == ["Production", "Archived"]
    (run, *_) = workspace.runs("attributes.run_name = 'rollback'")
    file = client.download_artifacts(run.info.run_id, "champion_history.json")
    table = pd.read_json(file, orient="split")
    assert [(row.version, row.by) for row in table.itertuples()] == [
        (1, "select_champion"),
        (2, "select_champion"),
        (1, "rollback"),
    ]
    assert "promotion=always" in table["reason"][1]
    assert table["run_id"].iloc[-1] == run.info.run_id

    # As if it had been killed before its end: the same command does not go back again.
    change = PendingChange.of_this_process(ROLLBACK, run.info.run_id, "2", "")
    client.set_model_version_tag(promoted_twice, "1", PENDING, change.as_tags[PENDING])
    again = workspace.run_step("rollback", model_name=promoted_twice)
    assert again.returncode == 0, again.stderr
    assert "completed an interrupted rollback of duel: version 1 is champion" in again.stderr
    assert int(client.get_model_version_by_alias(promoted_twice, "champion").version) == 1


def test_rollback_to_unreadable_version_changes_nothing(workspace, promoted_twice):
    client = workspace.client
    champion = client.get_model_version_by_alias(promoted_twice, "champion").version
    version = client.create_model_version(promoted_twice, str(workspace.folder / "nothing")).version
    client.set_registered_model_alias(promoted_twice, "previous", version)
    try:
        done = workspace.run_step("rollback", model_name=promoted_twice)
        assert done.returncode != 0
        assert "of duel cannot be read, so nothing changed" in done.stderr
        assert client.get_model_version_by_alias(promoted_twice, "champion").version == champion
    finally:
        client.set_registered_model_alias(promoted_twice, "previous", "2")
        client.delete_model_version(promoted_twice, version)


def test_concurrent_selections_make_one_champion(workspace, step_runs):
    processes = [
        workspace.start(
            "select_champion",
            data_run_id=step_runs["load_data"].info.run_id,
            training_run_ids=step_runs["train_pycaret"].info.run_id,
            refit="false",
            model_name="at-once",
        )
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    outputs = [process.output for process in processes]
    assert sum("it is the first champion of this model" in output for output in outputs) == 1
    (version,) = workspace.client.search_model_versions("name = 'at-once'")
    assert version.current_stage == "Production"


def test_leftover_of_killed_selection_is_deleted(workspace, step_runs):
    client = workspace.client
    name = "left-over"
    tags = PendingChange.of_this_process(SELECTION, "", "", "").as_tags
    client.create_registered_model(name)
    client.create_model_version(name, str(workspace.folder / "nothing"), tags=tags)
    done = select(workspace, step_runs, "pycaret", model_name=name)
    assert done.returncode == 0, done.stderr
    assert "deleting version 1 of left-over, which was not promoted" in done.stderr
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    assert PENDING not in version.tags


def test_candidates_of_other_splits_are_refused(workspace, step_runs):
    assert workspace.run_step("load_data", data="sample", split="stratified").returncode == 0
    (other, *_) = workspace.runs("attributes.run_name = 'load_data'")
    done = workspace.run_step(
        "select_champion",
        data_run_id=other.info.run_id,
        training_run_ids=step_runs["train_pycaret"].info.run_id,
        model_name="mixed",
    )
    assert done.returncode != 0
    assert "read other splits" in done.stderr
    assert not workspace.client.search_registered_models("name = 'mixed'")


def test_unrefittable_winner_is_promoted_unchanged(workspace_copy, step_runs):
    workspace = workspace_copy
    candidates = workspace.children(step_runs["train_spark"].info.run_id)
    best = max(candidates, key=lambda run: run.data.metrics["val_ks"])
    workspace.client.set_tag(best.info.run_id, "refittable", "false")  # as for an ensemble
    done = workspace.run_step(
        "select_champion",
        data_run_id=step_runs["load_data"].info.run_id,
        training_run_ids=step_runs["train_spark"].info.run_id,
        model_name="as-it-is",
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be refitted; using the first fit" in done.stderr
    version = workspace.client.get_model_version_by_alias("as-it-is", "champion")
    assert version.tags["refit"] == "false"
    assert version.tags["model_run_id"] == best.info.run_id


def test_h2o_ensembles_are_not_refittable(workspace, step_runs):
    candidates = workspace.children(step_runs["train_h2o"].info.run_id)
    refittable = {run.data.tags["algorithm"]: run.data.tags["refittable"] for run in candidates}
    for algorithm, value in refittable.items():
        assert value == ("false" if "Ensemble" in algorithm else "true")
