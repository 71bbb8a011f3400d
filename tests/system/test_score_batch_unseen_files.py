"""Files and folders that a worker of `score_batch` does not see."""

import re
import socket
from contextlib import contextmanager, nullcontext

import mlflow
import pandas as pd
import pytest

import steps.score_batch
from serving.model.prediction import ModelIdentity
from serving.model.scorer import PortableScorer
from steps.batch.champion_scorer import ChampionScorer
from steps.batch.scoring import SPARK_SETTINGS, score_table
from steps.runtime.errors import EngineError
from steps.runtime.spark_session import spark_session
from steps.score_batch import score_batch
from tests.support.tiny_model import COLUMNS

FILES = 3


@contextmanager
def moved_away(path):
    away = path.with_name(f".{path.name}.away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@pytest.fixture(scope="module")
def spark():
    with spark_session("local[1]", SPARK_SETTINGS) as spark:
        yield spark


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(FILES):
        pd.DataFrame(COLUMNS).drop(columns="id").to_parquet(folder / f"{number}.parquet")
    return folder


@pytest.fixture
def run(spark, tiny_model, source, tmp_path, monkeypatch):
    """A function that runs the step, with a path moved away while the workers score."""
    scorer = tiny_model / "artifacts" / "scorer"
    champion = ChampionScorer(ModelIdentity("m", "1", "r"), scorer, PortableScorer.load(scorer))
    monkeypatch.setattr(steps.score_batch, "spark_session", lambda *_: nullcontext(spark))
    monkeypatch.setattr(steps.score_batch, "load_champion_scorer", lambda _: nullcontext(champion))
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")

    def run(unseen=None):
        def score(*arguments):
            with moved_away(unseen) if unseen else nullcontext():
                return score_table(*arguments)

        monkeypatch.setattr(steps.score_batch, "score_table", score)
        with mlflow.start_run():
            score_batch.__wrapped__(str(source), tmp_path / "out", "m", False, "", "local[1]")

    yield run
    mlflow.set_tracking_uri(None)


def test_finished_parts_are_kept(run, source, tmp_path):
    file = source / "1.parquet"
    message = f"spark_master: the worker {socket.gethostname()} does not see {file}: make it "
    with pytest.raises(EngineError, match=re.escape(message)):
        run(unseen=file)
    finished = list((tmp_path / "out.unfinished").glob("part-*.parquet"))
    assert finished
    times = {part.name: part.stat().st_mtime_ns for part in finished}
    run()
    output = tmp_path / "out"
    assert len(pd.read_parquet(output)) == FILES * 3
    assert {name: (output / name).stat().st_mtime_ns for name in times} == times


def test_unseen_output_is_named(run, tmp_path):
    unfinished = tmp_path / "out.unfinished"
    with pytest.raises(EngineError, match=re.escape(f" does not see {unfinished}: make it ")):
        run(unseen=unfinished)
