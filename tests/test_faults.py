"""What a run makes of an engine that fails, of a kill at any moment, and of a full disk."""

import logging
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch
from urllib.parse import urlsplit

import h2o
import mlflow
import pandas as pd
import psutil
import pytest
from h2o.estimators import H2OGradientBoostingEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from steps import train_h2o, train_pycaret
from steps.main import select
from steps.pipeline.errors import EngineError, StepError
from steps.pipeline.splits import Part, write_parquet
from tests.conftest import (
    MLFLOW,
    Running,
    Workspace,
    measured,
    named,
    run_arguments,
    stands,
    tracked,
    wait_for,
)

STEPS = ("load_data", "train_h2o", "train_pycaret", "train_spark", "select_champion")


def test_the_others_go_on_without_an_engine_that_fails(workspace, steps):
    done = workspace.run(
        data="sample",
        profile="quick",
        engines="h2o,pycaret",
        h2o_url="http://127.0.0.1:9",
        model_name="without-h2o",
    )
    reason = "no H2O answers at http://127.0.0.1:9"
    assert done.returncode != 0
    assert f"ml-pipes: main: done, but without h2o: h2o_url: {reason}" in done.stderr
    assert stands(done.stderr) == {"load_data", "train_pycaret"}
    (run, *_) = workspace.runs("attributes.run_name = 'main'")
    assert run.info.status == "FAILED"
    assert reason in run.data.tags["failed.h2o"]
    assert run.data.tags["promoted"] == "true"
    version = workspace.client.get_model_version_by_alias("without-h2o", "champion")
    assert version.tags["engine"] == "pycaret"


def test_a_winner_whose_engine_fails_to_fit_it_again_is_champion_as_it_was_found(workspace, steps):
    with tracked(workspace):
        selected = steps["select_champion"].info.run_id
        board = mlflow.load_table("leaderboard.json", run_ids=[selected])
    winner = board[board["engine"] == "pycaret"].iloc[0]["run_id"]
    folder = Path(urlsplit(workspace.client.get_run(winner).info.artifact_uri).path)
    configuration = (folder / "configuration.json").rename(folder / "away.json")
    try:
        done = workspace.run(
            "select_champion",
            data_run_id=steps["load_data"].info.run_id,
            training_run_ids=steps["train_pycaret"].info.run_id,
            model_name="no-refit",
            cache="false",
        )
    finally:
        configuration.rename(folder / "configuration.json")
    assert done.returncode != 0
    assert "select_champion: pycaret could not fit the winner again: refit_of" in done.stderr
    version = workspace.client.get_model_version_by_alias("no-refit", "champion")
    assert version.tags["model_run_id"] == version.tags["candidate_run_id"] == winner
    (selection, *_) = workspace.runs("attributes.run_name = 'select_champion'")

    def failed(*_: object) -> str:
        raise StepError("select_champion", "no refit", selection.info.run_id)

    reasons: list[str] = []
    with tracked(workspace), patch("steps.main.run_step", failed):
        found = select({"model_name": "no-refit"}, False, reasons)
    assert (found.info.run_id, reasons) == (selection.info.run_id, ["no refit"])


@pytest.fixture
def splits(table, tmp_path, monkeypatch):
    """Small splits whose engine logs no table."""
    monkeypatch.setattr("mlflow.log_table", lambda *_: None)
    features = ["V1", "V2"]

    def part(name: str, frame: pd.DataFrame) -> Part:
        file = tmp_path / f"{name}.parquet"
        write_parquet(frame, file)
        return Part(name, file, frame, features, "Class")

    rows = table.drop(columns="Time")
    return SimpleNamespace(
        target="Class",
        names=features,
        has_missing=False,
        training=part("training", rows[:300]),
        validation=part("validation", rows[300:]),
    )


@pytest.mark.slow
def test_what_h2o_lost_is_said(splits, monkeypatch, caplog):
    monkeypatch.setitem(train_h2o.SECONDS_AT_MOST, "quick", 1)
    monkeypatch.setitem(train_h2o.MODELS, "quick", 50)
    failing = H2OGradientBoostingEstimator(custom_metric_func="python:missing=missing.Metric")
    failed = pytest.raises(EngineError, match=r"^H2O failed: Job with key .* failed with an .*$")
    with caplog.at_level(logging.WARNING), failed, train_h2o.h2o_server(""):
        h2o.no_progress()
        train_h2o.search(splits, "quick", seed=7)
        frame = train_h2o._upload(splits.training)
        failing.train(x=splits.names, y=splits.target, training_frame=frame)
    assert "cut off after 1 s with " in caplog.text
    assert "of 50 models: such a search does not repeat" in caplog.text


class Unfit(DecisionTreeClassifier):
    def fit(self, *_, **__):
        raise ValueError("no")


def test_a_classifier_that_pycaret_cannot_fit_is_named(splits, monkeypatch, caplog):
    offered = {"Naive Bayes": GaussianNB(), "Decision Tree": Unfit()}
    monkeypatch.setattr(train_pycaret, "classifiers", lambda *_: offered)
    with caplog.at_level(logging.WARNING):
        (fitted,) = train_pycaret.compare(splits, "quick", seed=7)
    assert fitted.algorithm == "Naive Bayes"
    assert "PyCaret could not fit Decision Tree" in caplog.text
    assert "raised an exception or returned all 0.0: ValueError('no')" in caplog.text
    assert "Traceback" not in caplog.text


def metrics_of(workspace: Workspace, main_run_id: str) -> dict[str, dict[str, float]]:
    """Return all metrics below a run of `main`, by the names of the runs."""
    found = {}
    for run in workspace.children(main_run_id):
        found[run.info.run_name] = measured(run)
        found |= metrics_of(workspace, run.info.run_id)
    return found


def kill_main_in(running: Running, step: str) -> None:
    """Kill the workflow while `step` is at work, and wait until that has ended, too."""

    def processes() -> list[psutil.Process]:
        assert running.popen.poll() is None, running.output
        return named(running.outer, f"-m steps.{step}")

    started = wait_for(processes, 300)
    time.sleep(3)
    named(running.outer, "-m steps.main")[0].kill()
    running.wait()
    wait_for(lambda: not any(one.is_running() for one in started), 60)


def test_killed_at_work_it_goes_on_and_ends_the_same(workspace, steps, tmp_path):
    """Done in another place, it also shows that a run repeats to the last digit."""
    other = Workspace(tmp_path)
    parameters = {"data": "sample", "profile": "quick", "engines": "h2o"}
    kill_main_in(other.start(**parameters), "train_h2o")
    done = other.run(**parameters)
    assert done.returncode == 0, done.stderr
    assert stands(done.stderr) == {"load_data"}
    (main,) = other.runs("attributes.run_name = 'main' and attributes.status = 'FINISHED'")
    found = metrics_of(other, main.info.run_id)
    for run in workspace.children(steps["train_h2o"].info.run_id):
        assert found[run.info.run_name] == measured(run)


@pytest.mark.slow
def test_killed_at_each_step_it_goes_on_and_ends_the_same(workspace, main_run, tmp_path):
    other = Workspace(tmp_path)
    for place, step in enumerate(STEPS):
        running = other.start(data="sample", profile="quick")
        kill_main_in(running, step)
        assert stands(running.output) == set(STEPS[: max(place - 1, 0)])
    done = other.run(data="sample", profile="quick")
    assert done.returncode == 0, done.stderr
    assert stands(done.stderr) >= set(STEPS[:-1])
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    assert len(other.client.search_model_versions("name = 'credit-card-fraud'")) == 1
    finished = other.runs("attributes.status = 'FINISHED'")
    expected = metrics_of(workspace, main_run.info.run_id)
    found = {run.info.run_name: measured(run) for run in finished}
    assert found == expected | {"main": measured(main_run)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_in_one_line_and_registers_nothing(workspace, steps, tmp_path):
    """A small disk with a copy of the workspace takes its place, for these processes alone."""
    select = run_arguments(
        "select_champion",
        {
            "data_run_id": steps["load_data"].info.run_id,
            "training_run_ids": steps["train_pycaret"].info.run_id,
            "model_name": "too-large",
            "refit": "false",
        },
    )
    registered = "select count(*) from model_versions where name = 'too-large'"
    count = f"import sqlite3; print(*sqlite3.connect('mlflow.db').execute(\"{registered}\"))"
    script = f"""
        set -e
        size=$(du -sk --apparent-size {workspace.folder} | cut -f1)
        mount -t tmpfs -o size=$((size * 5 / 4 + 20000))k tmpfs {tmp_path}
        cp -a {workspace.folder}/. {tmp_path}
        free=$(df -k --output=avail {tmp_path} | tail -1)
        head -c $((free - 600))K /dev/zero > {tmp_path}/filler
        mount --bind {tmp_path} {workspace.folder}
        cd {workspace.folder}
        {shlex.join([MLFLOW, *select])} && exit 9
        {sys.executable} -c {shlex.quote(count)}
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        env=workspace.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "ml-pipes: select_champion: the disk is full: free some space" in done.stderr
    assert done.stdout.split() == ["(0,)"]
