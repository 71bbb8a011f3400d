"""Benchmarks that compare ways to choose a model, and the code that they share."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import choices, classifiers, folds, profiles, search
from benchmarks.paired_splits import mean_with_interval, stratified_splits, temporal_splits
from steps.engines.pycaret import CANDIDATES, RETIRED
from steps.loading.sources import SAMPLE

pytestmark = pytest.mark.quick

TABLE = "titanic"


def run(command, *arguments):
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def rows():
    with choices.rows_of(TABLE, 0, 500) as of_split:
        yield of_split


@pytest.fixture(scope="module")
def fixed(rows):
    """The classifiers that have a search space, with the parameters of the engine."""
    models = search.models_of(rows.training, "quick", 0)
    return choices.fitted({name: models[name] for name in search.SPACES}, rows)


def test_folds_report_the_differences_to_the_single_split(tmp_path):
    output = tmp_path / "folds.csv"
    done = run(folds.main, TABLE, "--seeds", "2", "--rows", "400", "--output", str(output))
    results = pd.read_csv(output)
    assert results["rows"].tolist() == [320, 320]
    difference = (results["folds_ks"] - results["split_ks"]).mean()
    assert f"{difference:+.4f} (" in done.stdout


def test_search_reports_each_contender_and_rule(tmp_path):
    output = tmp_path / "search.csv"
    small = ["--seeds", "2", "--rows", "400", "--trials", "4", "--objectives", "log_loss"]
    done = run(search.main, TABLE, *small, "--output", str(output))
    results = pd.read_csv(output)
    assert len(results) == 2 * len(choices.RULES) * 2
    auc = results.groupby(["contender", "rule"])["roc_auc"].mean()
    gained = auc["search by log_loss", "ensemble"] - auc["baseline", "ensemble"]
    assert f"{gained:+.4f} (" in done.stdout.partition("test roc_auc")[2]
    assert not results["chosen"].str.contains("|".join(RETIRED)).any()


def test_classifiers_are_left_out_one_by_one(tmp_path):
    output = tmp_path / "classifiers.csv"
    small = ["--seeds", "1", "--rows", "400"]
    done = run(classifiers.main, TABLE, *small, "--output", str(output))
    groups = pd.read_csv(output).groupby("contender")["chosen"].agg("|".join)
    assert "Deep LightGBM" not in groups["without Deep LightGBM"]
    assert "without Deep LightGBM" in done.stdout.partition("test log_loss")[2]


def test_profiles_differ_in_the_sizes_of_their_classifiers(tmp_path):
    output = tmp_path / "profiles.csv"
    done = run(profiles.main, TABLE, "--seeds", "1", "--rows", "400", "--output", str(output))
    results = pd.read_csv(output)
    losses = results[results["rule"] == "ensemble"].set_index("contender")["log_loss"]
    assert losses.nunique() > 1
    gained = losses["full"] - losses["baseline"]
    assert f"{gained:+.4f}" in done.stdout.partition("test log_loss")[2]
    assert (results["seconds"].dropna() > 0).all()
    assert "CPU seconds" in done.stdout


def test_groups_of_classifiers():
    names = ["Logistic Regression", *classifiers.LATER, *RETIRED]
    candidates = [choices.Candidate(name, None, None) for name in names]
    groups = {
        group: {each.name for each in members}
        for group, members in classifiers.contenders(candidates).items()
    }
    compared = set(names) - RETIRED
    assert groups.pop(choices.BASELINE) == compared
    assert groups.pop("first release") == {"Logistic Regression"} | RETIRED
    assert groups == {f"without {name}": compared - {name} for name in compared} | {
        f"with {name}": compared | {name} for name in RETIRED
    }


@pytest.mark.parametrize("objective", search.OBJECTIVES)
def test_search_repeats_and_returns_what_is_better(rows, fixed, objective):
    found, again = (search.Search(rows, 1, 6, 2).run(fixed, objective) for _ in range(2))
    assert 1 <= len(found) <= 2
    value = search.OBJECTIVES[objective]
    before = {candidate.name: value(rows, candidate) for candidate in fixed}
    for first, second in zip(found, again, strict=True):
        assert first.model[-1].get_params() == second.model[-1].get_params()
        assert value(rows, first) > before[first.name.removesuffix(", searched")]


def test_unknown_objectives_are_refused():
    done = run(search.main, TABLE, "--objectives", "log_loss,speed")
    assert done.exit_code == 2
    assert "speed" in done.stderr


def test_rules_choose_by_validation_scores(fixed):
    y = np.array([0, 0, 0, 1, 1, 1])
    scores = {"best": [1, 2, 3, 7, 8, 9], "second": [1, 2, 7, 3, 8, 9], "worst": [9, 8, 7, 3, 2, 1]}
    candidates = [
        choices.Candidate(name, fixed[0].model, np.array(values) / 10)
        for name, values in scores.items()
    ]
    for rule in ("ks", "roc_auc"):
        chosen, weights = choices.choose(rule, candidates, y)
        assert ([each.name for each in chosen], weights) == (["best"], [1.0])
    chosen, weights = choices.choose("ensemble", candidates[::-1] * CANDIDATES, y)
    assert {each.name for each in chosen} == {"best"}
    assert sum(weights) == pytest.approx(1)


def test_origins_are_consecutive_rows_before_the_test_split():
    early = pd.read_parquet(SAMPLE).drop_duplicates().sort_values("Time", kind="stable")
    with temporal_splits("sample", "Class", (0.4, 0.6, 0.8)) as splits:
        amounts = pd.concat([split.frame["Amount"] for split in splits])
        sizes = [len(split) for split in splits]
    assert sizes == [
        int(len(early) * 0.4),
        *np.diff([int(len(early) * e) for e in (0.4, 0.6, 0.8)]),
    ]
    assert amounts.tolist() == early["Amount"].head(sum(sizes)).tolist()


def test_drawn_rows_of_origins_keep_class_1():
    ends = 0.4, 0.6, 0.8
    with temporal_splits("sample", "Class", ends) as splits:
        whole = [split.frame for split in splits]
    with temporal_splits("sample", "Class", ends, negatives=1000) as splits:
        drawn = [split.frame for split in splits]
    for before, after in zip(whole, drawn, strict=True):
        assert after["Class"].sum() == before["Class"].sum()
    assert sum((frame["Class"] == 0).sum() for frame in drawn) == 1000


def test_origins_cannot_reach_into_the_test_split():
    with (
        pytest.raises(ValueError, match="test split"),
        temporal_splits("sample", "Class", (0.4, 0.6, 0.81)),
    ):
        pass


def test_tables_in_packages_are_drawn_down():
    with stratified_splits("breast_cancer", 0, rows=300) as splits:
        assert sum(splits.description.rows.values()) == 300
        assert splits.target == "diagnosis"


def test_interval_of_one_split_is_missing():
    assert mean_with_interval(pd.Series([0.01])) == "+0.0100"
    assert mean_with_interval(pd.Series([0.0, 0.02])) == "+0.0100 (-0.1171 to +0.1371)"
