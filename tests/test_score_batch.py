"""The champion over whole tables, on a Spark of several processes."""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.sql import SparkSession

import steps.score_batch
from serving import batch
from serving.batch import batch_prediction_ids
from serving.invocation import invoke
from serving.prediction import ModelIdentity, Prediction
from steps.pipeline import batch_input
from steps.pipeline.batch_input import read_input
from steps.pipeline.batch_job import NOTE, Job, discard, finish, one_scoring
from steps.pipeline.errors import BusyError, DataError, ParameterError
from steps.pipeline.parameters import NewPath
from steps.pipeline.spark import spark_session
from steps.score_batch import (
    SETTINGS,
    ChampionScorer,
    champion_scorer,
    score,
    score_batch,
    write_to_log,
)
from tests.conftest import PROJECT, logged, named, tracked, wait_for

CLUSTER = "local-cluster[2,1,1024]"


@pytest.mark.quick
def test_ids_follow_from_job_and_row_alone():
    def ids(job: str, first: int, rows: int) -> list[str]:
        return batch_prediction_ids(job, first, rows).to_pylist()

    assert ids("job", 0, 5) == ids("job", 0, 2) + ids("job", 2, 3)
    assert len({*ids("job", 0, 5), *ids("other", 0, 5)}) == 10
    (last,) = ids("job", 0xABCDEF012345, 1)
    assert (uuid.UUID(last).version, last[24:]) == (8, "abcdef012345")


@pytest.mark.quick
@pytest.mark.parametrize("row_group", [1, 90, 250, 1_000])
def test_parts_hold_each_row_of_a_file_once_and_in_order(tmp_path, monkeypatch, row_group):
    monkeypatch.setattr(batch_input, "FEWEST_ROWS", 40)
    monkeypatch.setattr(batch, "ROWS_AT_ONCE", 30)
    file = tmp_path / "rows.parquet"
    pd.DataFrame({"row": range(1_000)}).to_parquet(file, row_group_size=row_group)
    ranges = batch_input.ranges_of_files({str(file): pa.parquet.read_metadata(file)})
    assert len(ranges) >= 8
    assert min(part.rows for part in ranges[:-1]) >= min(row_group, 40)
    found = [row for part in ranges for rows in part.read() for row in rows["row"].to_pylist()]
    assert found == list(range(1_000))


def job(size: int = 10, version: str = "1", run_id: str = "one") -> Job:
    table = SimpleNamespace(columns=["V1"])
    source = SimpleNamespace(files=[f"file:/in.parquet {size} 0"], table=table, parts=2)
    return Job.of(source, ModelIdentity("fraud", version, run_id))


@pytest.mark.quick
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(job(size=11), id="another input"),
        pytest.param(job(version="2", run_id="two"), id="another champion"),
        pytest.param(job(run_id="two"), id="deleted, trained again, version 1 again"),
    ],
)
def test_unfinished_work_of_another_job_is_refused(tmp_path, other):
    unfinished = tmp_path / "out.unfinished"
    job().resume_in(unfinished)
    with pytest.raises(ParameterError) as refused:
        other.resume_in(unfinished)
    assert str(refused.value) == (
        f"output: {unfinished} holds unfinished work on another input or with another champion: "
        "remove it, or take another name"
    )
    assert other.key != job().key, "the log keeps the rows of both"
    job().resume_in(unfinished)


class KilledError(BaseException):
    pass


def kill_before(monkeypatch, moment: int) -> None:
    """End the process, as it were, before the `moment`-th change of a file or folder."""
    changes = count()

    def deadly(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Path, *arguments: Any, **options: Any) -> Any:
            if next(changes) == moment:
                if change.__name__ == "write_text":
                    path.touch()
                raise KilledError
            return change(path, *arguments, **options)

        return changed

    for name in ("mkdir", "write_text", "rename", "unlink"):
        monkeypatch.setattr(Path, name, deadly(getattr(Path, name)))


def work(output: Path) -> bool:
    """Do the job of two rows in one part; tell whether it had to be scored."""
    unfinished = output.with_name("out.unfinished")
    job().resume_in(unfinished)
    part = unfinished / "part-00000.parquet"
    (unfinished / f".{part.name}.of-a-worker-that-was-killed").touch()
    if there := part.exists():
        assert pd.read_parquet(part)["row"].tolist() == [0, 1]
    else:
        pd.DataFrame({"row": [0, 1]}).to_parquet(part)
    finish(unfinished, output)
    return not there


def is_whole(output: Path) -> bool:
    return pd.read_parquet(output)["row"].tolist() == [0, 1]


@pytest.mark.quick
def test_whenever_a_run_is_killed_the_same_command_ends_with_the_whole_output(
    tmp_path, monkeypatch
):
    for moment in count():
        folder = tmp_path / str(moment)
        folder.mkdir()
        output = folder / "out"
        with monkeypatch.context() as patch:
            kill_before(patch, moment)
            try:
                work(output)
                break  # no change was left to be killed before
            except KilledError:
                scored = (folder / "out.unfinished" / "part-00000.parquet").exists()
        if output.exists():
            with pytest.raises(click.BadParameter, match="is there already"):
                NewPath().convert(output, None, None)
        else:
            assert work(output) is not scored
        assert is_whole(output)
        assert list(folder.iterdir()) == [output]
    assert moment == 6, "each change was tried"


@pytest.mark.quick
def test_what_is_left_of_discarded_work_is_in_nobodys_way(tmp_path, monkeypatch):
    def killed(folder: Path) -> None:
        (folder / NOTE).unlink()
        raise KilledError

    unfinished = tmp_path / "out.unfinished"
    job(size=11).resume_in(unfinished)
    (unfinished / "part-00001.parquet").touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            discard(unfinished)
    assert work(tmp_path / "out")
    assert is_whole(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.quick
def test_two_never_make_the_same_output_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    output = folder / "out"
    with one_scoring(output):
        with one_scoring(folder / "another"):
            pass
        for name in (output, folder / "." / ".." / "folder" / "out", tmp_path / "link" / "out"):
            with pytest.raises(BusyError) as refused:
                score_batch.__wrapped__("in.csv", name, "fraud", False, "", "local[2]")
            assert str(refused.value) == (
                f"output: {name} is being made by another process: wait, or take another name"
            )
        assert not list(folder.iterdir())
        output.mkdir()
    with pytest.raises(ParameterError, match="made by another process just now"):
        score_batch.__wrapped__("in.csv", output, "fraud", False, "", "local[2]")


@pytest.mark.quick
def test_a_name_that_was_taken_meanwhile_loses_no_work(tmp_path):
    output, unfinished = tmp_path / "out", tmp_path / "out.unfinished"
    output.write_text("of somebody else")
    with pytest.raises(ParameterError, match=f"{unfinished} is complete, but cannot be renamed"):
        work(output)
    output.unlink()
    assert not work(output)
    assert is_whole(output)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The real sample with the caller's ids; Class and Time are columns like any other."""
    rows = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    return rows.assign(id=[f"row-{number}" for number in range(len(rows))])


@pytest.fixture(scope="module")
def champion(workspace, finished) -> Iterator[ChampionScorer]:
    with tracked(workspace), champion_scorer("credit-card-fraud") as champion:
        yield champion


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("local[2]", SETTINGS) as spark:
        yield spark


def run_it(workspace, source: Path, output: Path, **parameters: str):
    return workspace.run("score_batch", input=str(source), output=str(output), **parameters)


def test_it_scores_as_the_service_goes_on_after_a_kill_and_logs_each_row_once(
    workspace, table, champion, tmp_path
):
    source, output, database = (tmp_path / name for name in ("in.csv", "out", "log.db"))
    table.to_csv(source, index=False)
    options = {
        "input": str(source),
        "output": os.path.relpath(output, PROJECT),  # the workers are somewhere else
        "spark_master": CLUSTER,
        "log_predictions": "true",
        "log_uri": f"sqlite:///{database}",
    }
    unfinished = tmp_path / "out.unfinished"
    running = workspace.start("score_batch", **options)
    parts = wait_for(lambda: list(unfinished.glob("part-*.parquet")), 120)
    for process in named(running.outer, "-m steps.score_batch"):
        process.kill()
    running.wait()
    assert not output.exists(), "nothing looks whole"
    (unfinished / ".part-00000.parquet.of-a-worker-that-was-killed").touch()
    written = {part: part.stat().st_mtime_ns for part in parts}

    done = workspace.run("score_batch", **options)
    assert done.returncode == 0, done.stderr
    assert "parts are there already" in done.stderr
    assert not unfinished.exists()
    for part, moment in written.items():
        assert (output / part.name).stat().st_mtime_ns == moment, "a finished part is kept"
    assert not list(output.glob(".*"))

    scored = pd.read_parquet(output).set_index("id").loc[table["id"]]
    assert list(scored.columns[-5:]) == [
        "prediction_id", "score", "label", "model_name", "model_version",
    ]  # fmt: skip
    np.testing.assert_array_equal(scored["score"], champion.scorer.score(table))  # bit for bit
    expected = (scored["score"] >= champion.scorer.manifest.threshold).astype(int)
    np.testing.assert_array_equal(scored["label"], expected)
    assert scored["prediction_id"].is_unique

    stored = pd.DataFrame(logged(database)).set_index("prediction_id")
    assert len(stored) == len(table)
    np.testing.assert_array_equal(
        stored.loc[scored["prediction_id"], "score"], scored["score"].to_numpy()
    )
    assert set(stored["source"]) == {"score_batch"}
    assert stored["entity_id"].is_unique
    (run, *_) = workspace.runs("attributes.run_name = 'score_batch'")
    assert run.data.metrics["rows"] == len(table)


def score_here(spark, champion, source: Path, output: Path) -> tuple[int, int]:
    output.mkdir()
    read = read_input(spark, str(source), champion.scorer.names)
    return score(read, Job.of(read, champion.identity), champion, output, check_ids=False)


@pytest.fixture
def run_here(spark, champion, monkeypatch, tmp_path) -> Callable[..., None]:
    """The step in this process and on the session that is there."""
    monkeypatch.setattr(steps.score_batch, "spark_session", lambda *_: nullcontext(spark))

    def run(source: Path, output: Path, log_predictions: bool = False) -> None:
        log_uri = f"sqlite:///{tmp_path}/log.db"
        with mlflow.start_run():
            score_batch.__wrapped__(
                str(source), output, "credit-card-fraud", log_predictions, log_uri, "local[2]"
            )

    return run


def test_parquet_gives_the_same(spark, table, champion, tmp_path):
    source, output = tmp_path / "100 % of it", tmp_path / "out"
    source.mkdir()
    for place, rows in enumerate(np.array_split(np.arange(len(table)), 3)):
        table.iloc[rows].to_parquet(source / f"{place}.parquet", row_group_size=1_000)
    rows, positives = score_here(spark, champion, source, output)
    scored = pd.read_parquet(output)
    assert (rows, positives) == (len(table), scored["label"].sum())
    pd.testing.assert_frame_equal(scored[table.columns], table)  # in order, types as they were
    np.testing.assert_array_equal(scored["score"], champion.scorer.score(table))


def test_features_stay_out_of_the_log_where_the_service_leaves_them_out(
    spark, champion, table, tmp_path, monkeypatch
):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    table.head(100).to_parquet(source)
    score_here(spark, champion, source, output)
    monkeypatch.setenv("MLPIPES_LOG_FEATURES", "off")
    write_to_log(output, f"sqlite:///{tmp_path}/log.db", champion)
    assert [row["features"] for row in logged(tmp_path / "log.db")] == [None] * 100


def test_ids_are_logged_as_the_service_logs_them(run_here, champion, table, tmp_path):
    source = tmp_path / "in.parquet"
    rows = table.head(3).assign(id=[116139.0, np.nan, 7.0])  # whole numbers with a gap
    rows.to_parquet(source)
    run_here(source, tmp_path / "out", log_predictions=True)
    answered = []

    def record(rows: list[Prediction], _) -> list[Prediction]:
        answered.extend(rows)
        return rows

    invoke(champion.scorer, champion.identity, rows, None, record)
    stored = [row["entity_id"] for row in logged(tmp_path / "log.db")]
    assert stored == [row.entity_id for row in answered] == ["116139", None, "7"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["1", "x" * 256], "column id, row 1: must have at most 255 characters (counted from row"),
        ([2.0**53, np.nan], "column id, row 0: too large for a number, send it as a string"),
        ([True, False], "column id: must be text or whole numbers to be logged, it is boolean"),
    ],
    ids=["too long", "inexact", "of another kind"],
)
def test_ids_that_the_log_would_not_take_are_refused_before_it_has_a_row(
    run_here, table, tmp_path, ids, message
):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    table.head(2).assign(id=ids).to_parquet(source)
    with pytest.raises(DataError, match=re.escape(f"{source}: {message}")):
        run_here(source, output, log_predictions=True)
    assert list(tmp_path.iterdir()) == [source]


def test_ids_of_parts_that_are_there_already_are_looked_at_too(
    run_here, spark, champion, table, tmp_path
):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    table.head(2).assign(id=["1", "x" * 256]).to_parquet(source)
    read = read_input(spark, str(source), champion.scorer.names)
    begun, unfinished = Job.of(read, champion.identity), tmp_path / "out.unfinished"
    begun.resume_in(unfinished)
    score(read, begun, champion, unfinished, check_ids=False)  # they may be anything
    with pytest.raises(DataError, match="column id, row 1: must have at most 255 characters"):
        run_here(source, output, log_predictions=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_empty_table_is_said_to_be_empty(spark, champion, table, tmp_path, kind):
    source = tmp_path / f"in.{kind}"
    empty = table.head(0)
    empty.to_csv(source, index=False) if kind == "csv" else empty.to_parquet(source)
    with pytest.raises(DataError, match=re.escape(f"{source}: must hold rows, it is empty")):
        score_here(spark, champion, source, tmp_path / "out")


def test_a_row_that_cannot_be_scored_leaves_no_output(run_here, table, tmp_path):
    source = tmp_path / "in.parquet"
    table.head(100).assign(V3=np.nan).to_parquet(source)
    message = f"{source}: column V3, row 0: must not be missing (it never was in the data of this "
    with pytest.raises(DataError, match=re.escape(message)) as refused:
        run_here(source, tmp_path / "out")
    assert str(refused.value).endswith(f"(counted from row 0 of {source})")
    assert list(tmp_path.iterdir()) == [source], "the input must change, so nothing is kept"


def test_text_in_place_of_a_number_ends_with_one_line(workspace, finished, table, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out"
    table.head(100).assign(V3="many").to_csv(source, index=False)
    done = run_it(workspace, source, output, spark_master="local[1]")
    assert done.returncode != 0
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("ml-pipes:")]
    assert f"score_batch: {source}: column V3, row 0: must be a number, not 'many'" in line
    assert "Traceback" not in done.stderr
    assert "\tat org.apache.spark" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (['"1,5"', *"23", "many", *"5" * 28], "column V3, row 0: must be a number, not 'many'"),
        (["1"] * 31, f"row 0: must have one value for each of 32 columns, not '{'1,' * 20}'"),
        (["1"] * 33, f"row 0: must have one value for each of 32 columns, not '{'1,' * 20}'"),
    ],
    ids=["text", "too short", "too long"],
)
def test_a_line_of_csv_that_does_not_fit_is_named(run_here, table, tmp_path, values, message):
    source = tmp_path / "in.csv"
    table.head(1).to_csv(source, index=False)
    with source.open("a") as file:
        file.write(",".join(values))
    with pytest.raises(DataError, match=re.escape(f"{source}: {message} (counted from row")):
        run_here(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_a_table_that_does_not_fit_is_refused_before_any_work(spark, champion, table, tmp_path):
    names = champion.scorer.names
    for change, message in (
        ({"V3": "many"}, "column V3: must be numeric, it is string"),
        ({"score": 1.0}, "column score: must be renamed"),
    ):
        file = tmp_path / "in.parquet"
        table.head(100).assign(**change).to_parquet(file)
        with pytest.raises(DataError, match=re.escape(f"{file}: {message}")):
            read_input(spark, str(file), names)
    (tmp_path / "in.csv").write_text("V1,V2\n1,2\n")
    with pytest.raises(DataError, match="column V3: must be there"):
        read_input(spark, str(tmp_path / "in.csv"), names)
    with pytest.raises(DataError, match="no such file"):
        read_input(spark, str(tmp_path / "none.csv"), names)


@pytest.mark.parametrize("name", ["a.parquet", "z z%20.parquet"])
def test_a_parquet_file_that_is_cut_short_is_named(spark, champion, table, tmp_path, name):
    table.head(100).to_parquet(tmp_path / "whole.parquet")
    short = tmp_path / name
    table.to_parquet(short)
    os.truncate(short, short.stat().st_size // 2)
    message = rf"{re.escape(str(short))}: cannot be read: .* this is not a parquet file\.$"
    with pytest.raises(DataError, match=message):
        read_input(spark, str(tmp_path), champion.scorer.names)
