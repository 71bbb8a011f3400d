"""When a challenger replaces the champion, decided on the same test rows."""

import platform
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy.special import expit

from steps.pipeline import ledger, registry
from steps.pipeline.promotion import Decision, Incumbent, decide
from steps.pipeline.registry import (
    ROLLBACK,
    SELECTION,
    UNFINISHED,
    Change,
    one_selection,
    put_back,
)
from steps.pipeline.rows import Seen, newer, record_hashes, row_hashes
from steps.pipeline.splits import Part, Splits
from steps.rollback import number_of
from tests.conftest import Workspace, tracked


@pytest.fixture(scope="module")
def test_rows() -> Part:
    random = np.random.default_rng(1)
    y = np.r_[np.ones(80, int), np.zeros(3000, int)]
    frame = pd.DataFrame({"V1": random.normal(size=len(y)) + 2.5 * y, "Class": y})
    return Part("test", Path(), frame, ["V1"], "Class")


def seen(rows: int = 600, until: str = "20.0") -> Seen:
    return Seen(np.arange(rows, dtype=np.uint64), rows, until)


def splits_of(table: pd.DataFrame, target: str = "Class") -> Splits:
    """As `load_data` leaves them, in time order; 60/20/20."""
    parts = np.split(table, [len(table) * 6 // 10, len(table) * 8 // 10])
    named = dict(zip(("training", "validation", "test"), parts, strict=True))
    features = [name for name in table.columns if name not in ("Time", target)]
    splits = Splits.__new__(Splits)
    splits.description = Mock(
        rows={name: len(part) for name, part in named.items()},
        latest={name: str(part["Time"].max()) for name, part in named.items()},
    )
    splits._times = table[["Time"]]
    for name, part in named.items():
        frame = part.drop(columns="Time").reset_index(drop=True)
        setattr(splits, name, Part(name, Path(), frame, features, target))
    return splits


@pytest.mark.quick
class TestDecision:
    """The present champion scores with a little noise, the challenger with more or with less."""

    def decide(self, test: Part, promotion: str, noise: float, fitted: Seen | None = None):
        incumbent = self.incumbent(test)
        return decide(promotion, "ks", test, self.scores(test, noise), fitted or seen(), incumbent)

    def scores(self, test: Part, noise: float):
        random = np.random.default_rng(2)
        return expit(test.frame["V1"].to_numpy() + noise * random.normal(size=len(test.frame)))

    def incumbent(self, test: Part, **others) -> Incumbent:
        unseen = np.ones(len(test.frame), bool)
        return Incumbent(
            **{
                "version": "4",
                "seen": seen(),
                "scores": self.scores(test, 0.3),
                "unseen": unseen,
            }
            | others
        )

    def test_better_takes_any_difference(self, test_rows):
        assert self.decide(test_rows, "better", 0.2).promoted
        assert not self.decide(test_rows, "better", 0.3).promoted
        assert not self.decide(test_rows, "better", 0.4).promoted

    def test_significant_takes_only_what_chance_does_not_explain(self, test_rows):
        assert not self.decide(test_rows, "significant", 0.2).promoted
        noisy = self.incumbent(test_rows, scores=self.scores(test_rows, 3.0))
        ours = self.scores(test_rows, 0.0)
        assert decide("significant", "ks", test_rows, ours, seen(), noisy).promoted

    @pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
    def test_other_metrics_decide_alike(self, test_rows, metric):
        noisy = self.incumbent(test_rows, scores=self.scores(test_rows, 3.0))
        good, same = self.scores(test_rows, 0.0), noisy.scores
        assert decide("significant", metric, test_rows, good, seen(), noisy).promoted
        assert not decide("significant", metric, test_rows, same, seen(), noisy).promoted

    def test_auto_is_significant_where_nothing_is_newer(self, test_rows):
        decision = self.decide(test_rows, "auto", 0.2)
        assert not decision.promoted
        assert decision.reason.startswith("it is not significantly better: test ks 0.")

    def test_auto_takes_newer_or_more_rows_that_are_not_worse(self, test_rows):
        for fitted, words in ((seen(until="21.0"), "newer rows"), (seen(601), "more rows")):
            decision = self.decide(test_rows, "auto", 0.4, fitted)
            assert decision.promoted
            assert words in decision.reason
        worse = self.decide(test_rows, "auto", 4.0, seen(601))
        assert not worse.promoted
        assert "significantly worse" in worse.reason

    def test_always(self, test_rows):
        assert self.decide(test_rows, "always", 4.0).promoted

    def test_the_reason_has_the_figures(self, test_rows):
        reason = self.decide(test_rows, "better", 0.4).reason
        assert reason.startswith("it is not better: test ks 0.")
        assert "of version 4, a difference of -0." in reason
        assert reason.endswith("on 3,080 rows")

    def test_rows_that_the_incumbent_has_seen_are_left_out_and_counted(self, test_rows):
        unseen = np.arange(len(test_rows.frame)) % 2 == 0
        cheating = np.where(unseen, 0.5, test_rows.y)  # perfect where it has seen the rows
        incumbent = self.incumbent(test_rows, unseen=unseen, scores=cheating)
        ours = self.scores(test_rows, 0.3)
        decision = decide("significant", "ks", test_rows, ours, seen(), incumbent)
        assert decision.promoted
        assert "on 1,540 rows (1,540 left out: version 4 has seen them)" in decision.reason

    def test_with_too_few_unseen_rows_the_champion_stays(self, test_rows):
        unseen = np.arange(len(test_rows.frame)) >= 76  # four positives
        incumbent = self.incumbent(test_rows, unseen=unseen)
        decision = decide("better", "ks", test_rows, test_rows.y, seen(), incumbent)
        assert not decision.promoted
        assert "too few to compare on" in decision.reason

    def test_a_champion_that_cannot_be_scored_is_replaced(self, test_rows):
        incumbent = self.incumbent(test_rows, scores=None, problem="column V1 is gone")
        ours = self.scores(test_rows, 0.3)
        decision = decide("better", "ks", test_rows, ours, seen(), incumbent)
        assert decision == Decision(
            True, "version 4 cannot be scored on this data: column V1 is gone"
        )


@pytest.mark.quick
class TestSeenRows:
    TABLE = pd.DataFrame(
        {
            "Time": np.arange(100.0),
            "V1": np.tile([1.0, 2.0], 50),  # equal rows at other times
            "Class": np.tile([0, 0, 1, 1], 25),
        }
    )

    def unseen(self, splits: Splits, seen: Seen, features: list[str]) -> int:
        X, y, times = splits.test.frame[features], splits.test.y, splits.times_of(splits.test)
        return int((~np.isin(record_hashes(X, y, times), seen.hashes)).sum())

    def test_equal_rows_of_another_time_are_other_rows(self):
        splits = splits_of(self.TABLE)
        seen = Seen.of(splits, refitted=True)
        assert self.unseen(splits, seen, ["V1"]) == 20
        X, y = splits.test.X, splits.test.y
        assert (record_hashes(X, y, None) != record_hashes(X, 1 - y, None)).all()

    def test_seen_rows_are_known_in_a_table_that_grew_or_names_its_target_otherwise(self):
        seen = Seen.of(splits_of(self.TABLE), refitted=True)
        grown = self.TABLE.assign(V0=0.0).rename(columns={"Class": "Aim"})
        turned = grown.iloc[::-1].reset_index(drop=True)  # its last rows were the first
        assert self.unseen(splits_of(turned, "Aim"), seen, ["V1"]) == 0

    def test_what_it_was_fitted_on_is_counted_what_chose_it_is_seen(self):
        splits = splits_of(self.TABLE)
        fitted, refitted = (Seen.of(splits, refitted) for refitted in (False, True))
        assert (fitted.rows, fitted.until) == (60, "59.0")
        assert (refitted.rows, refitted.until) == (80, "79.0")
        np.testing.assert_array_equal(fitted.hashes, refitted.hashes)
        assert len(fitted.hashes) == 80

    @pytest.mark.parametrize("zone", [None, "UTC"])
    def test_moments_are_times_too(self, zone):
        moments = pd.Series(pd.date_range("2026-01-01", periods=3, freq="h", tz=zone))
        X, y = pd.DataFrame({"V1": [1.0] * 3}), np.zeros(3, int)
        assert len(set(record_hashes(X, y, moments))) == 3

    def test_a_row_is_known_by_its_values_in_whatever_order(self):
        turned = self.TABLE[["Class", "V1", "Time"]].sample(frac=1, random_state=1)
        found = [np.sort(row_hashes(table)) for table in (self.TABLE, turned)]
        np.testing.assert_array_equal(*found)
        assert len(set(found[0])) == 100

    def test_what_is_written_is_read(self, tmp_path):
        seen().write(tmp_path / "seen.parquet")
        again = Seen.read(tmp_path / "seen.parquet")
        assert (again.rows, again.until) == (600, "20.0")
        np.testing.assert_array_equal(again.hashes, seen().hashes)
        assert Seen.read(tmp_path / "none.parquet") is None

    def test_times_are_compared_as_what_they_are(self):
        assert newer("100000.0", "9.0")
        assert not newer("9.0", "9.0")
        assert newer("2024-01-02 00:00:00", "2023-12-31 00:00:00")
        for one, other in (("", "1.0"), ("1.0", ""), ("9.0", "2024-01-01 00:00:00")):
            assert not newer(one, other)


def select(workspace, steps, engines: str, **parameters: str):
    return workspace.run(
        "select_champion",
        data_run_id=steps["load_data"].info.run_id,
        training_run_ids=",".join(steps[f"train_{e}"].info.run_id for e in engines.split(",")),
        refit="false",
        **parameters,
    )


@pytest.fixture(scope="module")
def duel(workspace, steps) -> str:
    """A model whose second version was promoted over the first."""
    name = "duel"
    for promotion, outcome in (
        ("better", "first champion"),
        ("auto", "stays champion: it is not significantly better"),
        ("always", "promotion=always"),
    ):
        done = select(workspace, steps, "pycaret", model_name=name, promotion=promotion)
        assert done.returncode == 0, done.stderr
        assert outcome in done.stderr
    return name


def test_a_better_one_takes_over_and_the_old_one_is_kept_as_previous(workspace, duel):
    client, name = workspace.client, duel
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


def test_a_rollback_swaps_both_and_the_ledger_tells_all(workspace, duel):
    client = workspace.client
    done = workspace.run("rollback", model_name=duel)
    assert done.returncode == 0, done.stderr
    assert "version 1 of duel is champion again, instead of 2" in done.stderr
    assert int(client.get_model_version_by_alias(duel, "champion").version) == 1
    assert int(client.get_model_version_by_alias(duel, "previous").version) == 2
    stages = [client.get_model_version(duel, number).current_stage for number in ("1", "2")]
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
    change = Change(ROLLBACK, run.info.run_id, "2", "", platform.node(), 2**22 + 1, 0.0)
    client.set_model_version_tag(duel, "1", UNFINISHED, change.as_tag[UNFINISHED])
    again = workspace.run("rollback", model_name=duel)
    assert again.returncode == 0, again.stderr
    assert "an interrupted rollback of duel is finished: version 1 is champion" in again.stderr
    assert int(client.get_model_version_by_alias(duel, "champion").version) == 1


def test_a_rollback_to_what_cannot_be_read_changes_nothing(workspace, duel):
    client = workspace.client
    version = client.create_model_version(duel, str(workspace.folder / "nothing")).version
    client.set_registered_model_alias(duel, "previous", version)
    try:
        done = workspace.run("rollback", model_name=duel)
        assert done.returncode != 0
        assert "of duel cannot serve, so nothing changed" in done.stderr
        assert int(client.get_model_version_by_alias(duel, "champion").version) == 1
    finally:
        client.set_registered_model_alias(duel, "previous", "2")
        client.delete_model_version(duel, version)


def test_two_selections_at_once_make_one_champion(workspace, steps):
    processes = [
        workspace.start(
            "select_champion",
            data_run_id=steps["load_data"].info.run_id,
            training_run_ids=steps["train_pycaret"].info.run_id,
            refit="false",
            model_name="at-once",
        )
        for _ in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    outputs = [process.output for process in processes]
    assert sum("it is the first champion of this name" in output for output in outputs) == 1
    (version,) = workspace.client.search_model_versions("name = 'at-once'")
    assert version.current_stage == "Production"


def test_what_a_killed_selection_left_is_cleared_away(workspace, steps):
    client = workspace.client
    name = "left-over"
    tags = Change(SELECTION, "", "", "", platform.node(), 2**22 + 1, 0.0).as_tag
    client.create_registered_model(name)
    client.create_model_version(name, str(workspace.folder / "nothing"), tags=tags)
    done = select(workspace, steps, "pycaret", model_name=name)
    assert done.returncode == 0, done.stderr
    assert "version 1 of left-over was not promoted: deleting it" in done.stderr
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    assert UNFINISHED not in version.tags


class Killed(BaseException):
    """As by SIGKILL: nothing that the process still wants to do comes about."""


@pytest.fixture(scope="module")
def registry_alone(tmp_path_factory) -> Workspace:
    """A registry without any run."""
    workspace = Workspace(tmp_path_factory.mktemp("registry"))
    with tracked(workspace):
        MlflowClient().search_registered_models()  # sets it up
    return workspace


@pytest.fixture
def versions(registry_alone, tmp_path, monkeypatch) -> Iterator[MlflowClient]:
    """Versions 1 and 2 of a model, of which 2 is champion."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path))
    with tracked(registry_alone):
        client = MlflowClient()
        client.create_registered_model("fraud")
        for _ in range(2):
            client.create_model_version("fraud", str(tmp_path))
        client.set_registered_model_alias("fraud", "champion", "2")
        client.set_registered_model_alias("fraud", "previous", "1")
        ledger.note("fraud", "2", "1", SELECTION, "run", "better")
        yield client
        client.delete_registered_model("fraud")


WRITES = (
    "set_model_version_tag",
    "set_registered_model_alias",
    "transition_model_version_stage",
    "set_registered_model_tag",
    "delete_model_version_tag",
)


def killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so many writes to the registry come about, and none after them."""
    left = [writes]

    def counted(write):
        def wrapper(*arguments, **named):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return write(*arguments, **named)

        return wrapper

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))


@pytest.mark.parametrize("writes", range(7))
def test_a_rollback_that_is_killed_anywhere_is_finished_or_was_none(versions, monkeypatch, writes):
    with monkeypatch.context() as patched:
        killed_after(writes, patched)
        killed = False
        try:
            put_back("fraud", "1", instead_of="2", run_id="run")
        except Killed:
            killed = True
    assert killed == (writes < 6)
    monkeypatch.setattr(registry.Change, "was_interrupted", True)
    with one_selection("fraud") as finished:
        aliases = [number_of("fraud", alias) for alias in ("champion", "previous")]
    went_back = writes >= 2
    assert aliases == (["1", "2"] if went_back else ["2", "1"])
    assert len(finished) == (killed and went_back)
    reigns = [(reign.version, reign.after, reign.by) for reign in ledger.history("fraud")]
    assert reigns[1:] == ([("1", "2", "rollback")] if went_back else [])
    assert not any(UNFINISHED in one.tags for one in versions.search_model_versions())


@pytest.mark.parametrize(("after", "previous"), [("2", "2"), ("deleted since", "1")])
def test_a_promotion_killed_after_its_alias_is_finished(versions, monkeypatch, after, previous):
    change = Change.of_this_process(SELECTION, "run", after, "better")
    versions.create_model_version("fraud", "nowhere", tags=change.as_tag)
    versions.set_registered_model_alias("fraud", "champion", "3")
    with one_selection("fraud") as finished:
        assert finished == []  # its process is alive
    monkeypatch.setattr(registry.Change, "was_interrupted", True)
    with one_selection("fraud") as finished:
        assert finished == [change]
    assert number_of("fraud", "previous") == previous
    assert ledger.history("fraud")[-1].version == "3"


def test_candidates_of_other_splits_are_refused(workspace, steps):
    assert workspace.run("load_data", data="sample", split="stratified").returncode == 0
    (other, *_) = workspace.runs("attributes.run_name = 'load_data'")
    done = workspace.run(
        "select_champion",
        data_run_id=other.info.run_id,
        training_run_ids=steps["train_pycaret"].info.run_id,
        model_name="mixed",
    )
    assert done.returncode != 0
    assert "read other splits" in done.stderr
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
