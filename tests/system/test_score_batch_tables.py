"""Tables that `score_batch` scores or refuses, on a Spark session of the test."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

import steps.score_batch
from serving.model.prediction import Prediction
from serving.pyfunc.invocation import invoke
from steps.batch.input import read_input
from steps.batch.job import ScoringJob
from steps.batch.log_writing import write_to_log
from steps.batch.scoring import SPARK_SETTINGS, Totals, score_table
from steps.runtime.errors import DataError
from steps.runtime.spark_session import spark_session
from steps.score_batch import score_batch
from tests.support.log_fixtures import logged_rows


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    with spark_session("local[2]", SPARK_SETTINGS) as spark:
        yield spark


def score_here(spark, champion, source: Path, output: Path) -> Totals:
    output.mkdir()
    read = read_input(spark, str(source), champion.scorer.manifest.features)
    return score_table(
        read, ScoringJob.of(read, champion.identity), champion, output, check_ids=False
    )


@pytest.fixture
def run_here(spark, batch_champion, monkeypatch, tmp_path) -> Callable[..., None]:
    """The step in this process and on the session that is there."""
    monkeypatch.setattr(steps.score_batch, "spark_session", lambda *_: nullcontext(spark))

    def run(source: Path, output: Path, log_predictions: bool = False) -> None:
        log_uri = f"sqlite:///{tmp_path}/log.db"
        with mlflow.start_run():
            score_batch.__wrapped__(
                str(source), output, "credit-card-fraud", log_predictions, log_uri, "local[2]"
            )

    return run


def test_parquet_input_keeps_order_and_types(spark, transactions, batch_champion, tmp_path):
    source, output = tmp_path / "100 % of it", tmp_path / "out"
    source.mkdir()
    for place, rows in enumerate(np.array_split(np.arange(len(transactions)), 3)):
        transactions.iloc[rows].to_parquet(source / f"{place}.parquet", row_group_size=1_000)
    totals = score_here(spark, batch_champion, source, output)
    scored = pd.read_parquet(output)
    assert totals == Totals(len(transactions), scored["label"].sum())
    pd.testing.assert_frame_equal(
        scored[transactions.columns], transactions
    )  # in order, types as they were
    np.testing.assert_array_equal(scored["score"], batch_champion.scorer.score(transactions))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_of_input_keep_their_names(run_here, batch_champion, transactions, tmp_path, kind):
    source, output = tmp_path / f"in.{kind}", tmp_path / "out"
    taken = {"prediction_id": "p", "score": "of a game", "label": "red", "label_1": "blue"}
    rows = transactions.head(100).assign(**taken, v1="not V1")
    rows.to_csv(source, index=False) if kind == "csv" else rows.to_parquet(source)
    run_here(source, output, log_predictions=True)
    scored = pd.read_parquet(output)
    assert list(scored.columns) == [
        *rows.columns, "prediction_id_1", "score_1", "label_2", "model_name", "model_version",
    ]  # fmt: skip
    for name in (*taken, "v1"):
        assert scored[name].tolist() == rows[name].tolist()
    expected = batch_champion.scorer.score(rows)
    assert sorted(scored["score_1"]) == sorted(expected)
    stored = {row["prediction_id"]: row["score"] for row in logged_rows(tmp_path / "log.db")}
    assert stored == dict(zip(scored["prediction_id_1"], scored["score_1"], strict=True))


def test_features_can_be_left_out_of_log(
    spark, batch_champion, transactions, tmp_path, monkeypatch
):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    transactions.head(100).to_parquet(source)
    score_here(spark, batch_champion, source, output)
    monkeypatch.setenv("MLPIPES_LOG_FEATURES", "off")
    write_to_log(output, f"sqlite:///{tmp_path}/log.db", batch_champion)
    assert [row["features"] for row in logged_rows(tmp_path / "log.db")] == [None] * 100


def test_ids_are_logged_as_by_service(run_here, batch_champion, transactions, tmp_path):
    source = tmp_path / "in.parquet"
    rows = transactions.head(3).assign(id=[116139.0, np.nan, 7.0])  # whole numbers with a gap
    rows.to_parquet(source)
    run_here(source, tmp_path / "out", log_predictions=True)
    answered = []

    def record(rows: list[Prediction], _) -> list[Prediction]:
        answered.extend(rows)
        return rows

    invoke(batch_champion.scorer, batch_champion.identity, rows, None, record)
    stored = [row["entity_id"] for row in logged_rows(tmp_path / "log.db")]
    assert stored == [row.entity_id for row in answered] == ["116139", None, "7"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["1", "x" * 256], "column id, row 1: must have at most 255 characters (counted from row"),
        ([2.0**53, np.nan], "column id, row 0: too large for a number, send it as a string"),
        ([True, False], "column id: must be text or whole numbers to be logged, not boolean"),
    ],
    ids=["too long", "inexact", "of another kind"],
)
def test_unstorable_ids_are_refused(run_here, transactions, tmp_path, ids, message):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    transactions.head(2).assign(id=ids).to_parquet(source)
    with pytest.raises(DataError, match=re.escape(f"{source}: {message}")):
        run_here(source, output, log_predictions=True)
    assert list(tmp_path.iterdir()) == [source]


def test_ids_of_finished_parts_are_checked(run_here, spark, batch_champion, transactions, tmp_path):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    transactions.head(2).assign(id=["1", "x" * 256]).to_parquet(source)
    read = read_input(spark, str(source), batch_champion.scorer.manifest.features)
    begun, unfinished = ScoringJob.of(read, batch_champion.identity), tmp_path / "out.unfinished"
    begun.open_folder(unfinished)
    score_table(read, begun, batch_champion, unfinished, check_ids=False)  # they may be anything
    with pytest.raises(DataError, match="column id, row 1: must have at most 255 characters"):
        run_here(source, output, log_predictions=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_empty_table_is_refused(spark, batch_champion, transactions, tmp_path, kind):
    source = tmp_path / f"in.{kind}"
    empty = transactions.head(0)
    empty.to_csv(source, index=False) if kind == "csv" else empty.to_parquet(source)
    with pytest.raises(DataError, match=re.escape(f"{source}: must not be empty")):
        score_here(spark, batch_champion, source, tmp_path / "out")


def test_unscorable_row_leaves_no_output(run_here, transactions, tmp_path):
    source = tmp_path / "in.parquet"
    transactions.head(100).assign(V3=np.nan).to_parquet(source)
    message = f"{source}: column V3, row 0: must not be null: the training data had no "
    with pytest.raises(DataError, match=re.escape(message)) as refused:
        run_here(source, tmp_path / "out")
    assert str(refused.value).endswith(f"(counted from row 0 of {source})")
    assert list(tmp_path.iterdir()) == [source], "the input must change, so nothing is kept"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ['"1,5"', *"23", "many", *"5" * 28],
            "column V3, row 0: must be a number, not a string, 'many'",
        ),
        (["1"] * 31, f"row 0: must have one value for each of 32 columns, not '{'1,' * 20}'"),
        (["1"] * 33, f"row 0: must have one value for each of 32 columns, not '{'1,' * 20}'"),
    ],
    ids=["text", "too short", "too long"],
)
def test_malformed_csv_line_is_named(run_here, transactions, tmp_path, values, message):
    source = tmp_path / "in.csv"
    transactions.head(1).to_csv(source, index=False)
    with source.open("a") as file:
        file.write(",".join(values))
    with pytest.raises(DataError, match=re.escape(f"{source}: {message} (counted from row")):
        run_here(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_unsuitable_table_is_refused(spark, batch_champion, transactions, tmp_path):
    features = batch_champion.scorer.manifest.features
    file = tmp_path / "in.parquet"
    transactions.head(100).assign(V3="many").to_parquet(file)
    message = f"{file}: column V3: must be numeric, not string"
    with pytest.raises(DataError, match=re.escape(message)):
        read_input(spark, str(file), features)
    (tmp_path / "in.csv").write_text("V1,V2\n1,2\n")
    with pytest.raises(DataError, match="column V3: missing; the champion needs this feature"):
        read_input(spark, str(tmp_path / "in.csv"), features)
    with pytest.raises(DataError, match="no such file"):
        read_input(spark, str(tmp_path / "none.csv"), features)


@pytest.mark.parametrize("name", ["a.parquet", "z z%20.parquet"])
def test_truncated_parquet_file_is_named(spark, batch_champion, transactions, tmp_path, name):
    transactions.head(100).to_parquet(tmp_path / "whole.parquet")
    short = tmp_path / name
    transactions.to_parquet(short)
    os.truncate(short, short.stat().st_size // 2)
    message = rf"{re.escape(str(short))}: cannot be read: .* this is not a parquet file\.$"
    with pytest.raises(DataError, match=message):
        read_input(spark, str(tmp_path), batch_champion.scorer.manifest.features)
