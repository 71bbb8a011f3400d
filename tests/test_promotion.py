"""When a challenger replaces the champion, decided on the same test rows."""

import pytest

from steps.pipeline.promotion import Decision, Incumbent, decide


class TestDecision:
    pytestmark = pytest.mark.quick

    def decide(self, promotion: str, ours: float, theirs: float | None) -> Decision:
        metrics = None if theirs is None else {"ks": theirs}
        return decide(promotion, "ks", {"ks": ours}, Incumbent("4", metrics, "column V1 is gone"))

    def test_the_first_is_promoted(self):
        assert decide("better", "ks", {"ks": 0.1}, None).promoted

    @pytest.mark.parametrize("promotion", ["auto", "better"])
    def test_only_a_higher_metric_is_better(self, promotion):
        assert self.decide(promotion, 0.81, 0.80).promoted
        assert not self.decide(promotion, 0.80, 0.80).promoted
        assert not self.decide(promotion, 0.79, 0.80).promoted

    def test_the_reason_has_the_figures(self):
        reason = self.decide("better", 0.79, 0.80).reason
        assert reason == "it is not better: test ks 0.7900 against 0.8000 of version 4"

    def test_always(self):
        assert self.decide("always", 0.1, 0.9).promoted

    def test_a_champion_that_cannot_be_scored_is_replaced(self):
        decision = self.decide("better", 0.1, None)
        assert decision.promoted
        assert "column V1 is gone" in decision.reason


def select(workspace, steps, engines: str, **parameters: str):
    return workspace.run(
        "select_champion",
        data_run_id=steps["load_data"].info.run_id,
        training_run_ids=",".join(steps[f"train_{e}"].info.run_id for e in engines.split(",")),
        refit="false",
        **parameters,
    )


def test_a_better_one_takes_over_and_the_old_one_is_kept_as_previous(workspace, steps):
    client, name = workspace.client, "duel"
    for promotion, outcome in (
        ("better", "first champion"),
        ("better", "the champion stays: it is not better"),
        ("always", "promotion=always"),
    ):
        done = select(workspace, steps, "pycaret", model_name=name, promotion=promotion)
        assert done.returncode == 0, done.stderr
        assert outcome in done.stderr
    versions = client.search_model_versions(f"name = '{name}'")
    assert len(versions) == 2, "one that is not promoted is not registered"
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert int(client.get_model_version_by_alias(name, "previous").version) == 1
    stages = {int(v.version): v.current_stage for v in versions}
    assert stages == {1: "Archived", 2: "Production"}


def test_candidates_of_other_splits_are_refused(workspace, steps):
    done = workspace.run(
        "select_champion",
        data_run_id=steps["train_h2o"].info.run_id,
        training_run_ids=steps["train_pycaret"].info.run_id,
        model_name="mixed",
    )
    assert done.returncode != 0
    assert "its test rows are others" in done.stderr
    assert not workspace.client.search_registered_models("name = 'mixed'")


def test_a_winner_that_cannot_be_refitted_is_used_as_it_is(workspace, steps):
    candidates = workspace.children(steps["train_spark"].info.run_id)
    best = max(candidates, key=lambda run: run.data.metrics["val_ks"])
    workspace.client.set_tag(best.info.run_id, "refittable", "false")  # as for an ensemble
    try:
        done = workspace.run(
            "select_champion",
            data_run_id=steps["load_data"].info.run_id,
            training_run_ids=steps["train_spark"].info.run_id,
            model_name="as-it-is",
        )
    finally:
        workspace.client.set_tag(best.info.run_id, "refittable", "true")
    assert done.returncode == 0, done.stderr
    assert "cannot be fitted again: it is used as it is" in done.stderr
    version = workspace.client.get_model_version_by_alias("as-it-is", "champion")
    assert version.tags["refit"] == "false"
    assert version.tags["model_run_id"] == best.info.run_id


def test_an_ensemble_of_h2o_says_that_it_cannot_be_refitted(workspace, steps):
    candidates = workspace.children(steps["train_h2o"].info.run_id)
    refittable = {run.data.tags["algorithm"]: run.data.tags["refittable"] for run in candidates}
    for algorithm, value in refittable.items():
        assert value == ("false" if "Ensemble" in algorithm else "true")
