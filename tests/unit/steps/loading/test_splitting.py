"""Splits of a table."""

import numpy as np
import pandas as pd
import pytest

from steps.data.splits import Splits
from steps.runtime.errors import DataError
from tests.support.tables import load, load_frame

pytestmark = pytest.mark.quick


@pytest.fixture
def split(tmp_path_factory):
    """A function that splits a frame."""

    def split(frame: pd.DataFrame, **rules) -> Splits:
        return load_frame(frame, tmp_path_factory.mktemp("splits"), **rules)

    return split


def frames_of(splits: Splits) -> dict[str, pd.DataFrame]:
    return {split.name: split.frame for split in (splits.training, splits.validation, splits.test)}


def test_temporal_split_is_60_20_20_in_time_order(split, table):
    table["order"] = table["Time"]
    frames = frames_of(split(table.sample(frac=1, random_state=1)))
    assert [len(frame) for frame in frames.values()] == [240, 80, 80]
    in_order = np.concatenate([frame["order"] for frame in frames.values()])
    assert (in_order == np.arange(400)).all()
    assert "Time" not in frames["training"]


def test_rows_of_equal_time_keep_their_order(split, table):
    table["order"] = np.arange(400.0)
    table["Time"] = table["Time"] // 50
    in_order = np.concatenate([frame["order"] for frame in frames_of(split(table)).values()])
    assert (in_order == np.arange(400)).all()


def test_split_without_time_column_is_stratified_and_repeatable(split, table):
    table = table.drop(columns="Time")
    first, again, other = split(table), split(table), split(table, seed=1)
    assert first.description.split == "stratified"
    for name, frame in frames_of(first).items():
        assert frame["Class"].mean() == pytest.approx(0.1)
        pd.testing.assert_frame_equal(frame, frames_of(again)[name])
    assert not first.training.frame.equals(other.training.frame)


def test_equal_rows_are_kept_once(split, table):
    splits = split(pd.concat([table, table.head(7)], ignore_index=True))
    assert splits.description.duplicates == 7
    assert sum(splits.description.rows.values()) == 400
    before, after = splits.description.positive_rates
    assert (before, after) == (pytest.approx(41 / 407), 0.1)


def test_rows_of_different_time_are_kept(split, table):
    later = table.head(7).assign(Time=lambda rows: rows["Time"] + 0.5)
    assert split(pd.concat([table, later])).description.duplicates == 0


@pytest.mark.parametrize("rules", [{}, {"drop": ["booking"]}])
def test_rows_that_differ_in_a_left_out_column_are_kept(split, table, rules):
    few = {"Time": np.arange(400) // 100, "V1": 0.5, "V2": np.arange(400) % 3}
    table = table.assign(**few, booking=[f"b{i}" for i in range(400)])
    splits = split(table, split="stratified", **rules)
    assert splits.names == ["V2"]
    assert (splits.description.equal_rows, splits.description.duplicates) == ("drop", 0)


def test_features_become_doubles(split, table):
    table["V2"] = np.arange(400) // 2
    table.loc[::7, "V1"] = np.nan
    training = split(table).training.frame
    assert training["V2"].dtype == np.float64
    assert training["V1"].isna().any()
    assert training["Class"].dtype == np.int64


BAD = {
    "no target": (
        lambda t: t.drop(columns="Class"),
        "target 'Class' not found; pass -P target=NAME (columns: Time, V1, V2)",
    ),
    "target of three values": (
        lambda t: t.assign(Class=t["Time"] % 3),
        "column Class: the target must have two values, but has 3 (0 in 134 rows, 2 in 133 rows, "
        "1 in 133 rows; row 2 has 1)",
    ),
    "target missing": (
        lambda t: t.assign(Class=t["Class"].where(t["Time"] > 3)),
        "column Class: missing values in the target",
    ),
    "one class": (
        lambda t: t.assign(Class=0),
        "column Class: all 400 rows have the value 0; the target must have two values",
    ),
    "infinite": (
        lambda t: t.assign(V2=t["V2"].where(t["Time"] != 9, np.inf)),
        "column V2: infinite values",
    ),
    "time missing": (
        lambda t: t.assign(Time=t["Time"].where(t["Time"] > 3)),
        "column Time: missing values in the time",
    ),
    "time as words": (
        lambda t: t.assign(Time="noon"),
        "column Time: the time must be numeric or a timestamp",
    ),
    "no rows": (lambda t: t.head(0), "the table is empty"),
    "no features": (lambda t: t[["Time", "Class"]], "no feature columns besides target and time"),
    "no positives late": (
        lambda t: t.assign(Class=t["Class"].where(t["Time"] < 240, 0)),
        "column Class: the validation split needs at least 5 rows of each class",
    ),
}


def test_other_split_is_proposed_only_to_a_temporal_one(split, table):
    few = table.assign(Class=table["Class"].where(table["Time"] < 240, 0))
    proposal = "or try -P split=stratified"
    with pytest.raises(DataError, match=f"provide more rows, {proposal}$"):
        split(few)
    with pytest.raises(DataError, match=r"provide more rows$"):
        split(few.head(60).drop(columns="Time"))


@pytest.mark.parametrize("name", BAD)
def test_unsuitable_table_is_one_line(split, table, name):
    spoil, rule = BAD[name]
    with pytest.raises(DataError) as caught:
        split(spoil(table))
    message = str(caught.value)
    assert message.startswith("/")
    assert (
        "/data.parquet: column" in message
        or "data.parquet: t" in message
        or "no feature" in message
    )
    assert rule in message
    assert "\n" not in message


def test_temporal_split_needs_time_column(split, table):
    with pytest.raises(
        DataError, match="time_column 'Time' not found, but split=temporal needs it"
    ):
        split(table.drop(columns="Time"), split="temporal")


def test_dates_order_rows(table, tmp_path):
    table["Time"] = pd.date_range("2024-01-01", periods=400).astype(str)
    table["order"] = np.arange(400.0)
    table.sample(frac=1, random_state=2).to_csv(tmp_path / "dated.csv", index=False)
    splits = load(str(tmp_path / "dated.csv"), tmp_path)
    assert splits.description.split == "temporal"
    assert splits.description.latest["training"] == "2024-08-27 00:00:00"
    assert (splits.training.frame["order"] == np.arange(240)).all()


@pytest.mark.parametrize("index", ["numbers", "Time"])
def test_parquet_with_pandas_index(table, tmp_path, index):
    shown = table[table["Time"] >= 0].iloc[::-1] if index == "numbers" else table.set_index("Time")
    shown.to_parquet(tmp_path / "indexed.parquet")
    splits = load(str(tmp_path / "indexed.parquet"), tmp_path)
    assert splits.names == ["V1", "V2"]
    assert splits.description.split == "temporal"


def test_id_column_identifies_rows_and_is_no_feature(split, table):
    table = table.drop(columns="Time").assign(id=[f"c{i // 2:03}" for i in range(400)])
    twice = pd.concat([table, table.head(7)], ignore_index=True)
    splits = split(twice)
    assert (splits.names, splits.description.duplicates) == (["V1", "V2"], 7)
    assert sorted(splits.all_rows()["id"]) == sorted(table["id"])
