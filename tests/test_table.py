import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv

from steps.pipeline.errors import DataError, SourceError
from steps.pipeline.sources import SAMPLE, read_source, read_table
from steps.pipeline.table import SplitTable, split_table

pytestmark = pytest.mark.quick


def split(frame: pd.DataFrame | pa.Table, how: str = "auto", seed: int = 42) -> SplitTable:
    table = (
        frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    )
    return split_table(table, "data.csv", "Class", "Time", how, seed)


def test_temporal_split_is_60_20_20_in_time_order(table):
    table["order"] = table["Time"]
    parts = split(table.sample(frac=1, random_state=1)).parts
    assert [len(part) for part in parts.values()] == [240, 80, 80]
    in_order = np.concatenate([part["order"] for part in parts.values()])
    assert (in_order == np.arange(400)).all()
    assert "Time" not in parts["training"]


def test_rows_of_one_moment_keep_their_order(table):
    table["order"] = np.arange(400.0)
    table["Time"] = table["Time"] // 50
    in_order = np.concatenate([part["order"] for part in split(table).parts.values()])
    assert (in_order == np.arange(400)).all()


def test_without_time_column_the_split_is_stratified_and_repeats(table):
    table = table.drop(columns="Time")
    first, again, other = split(table), split(table), split(table, seed=1)
    assert first.kind == "stratified"
    for name, part in first.parts.items():
        assert part["Class"].mean() == pytest.approx(0.1)
        pd.testing.assert_frame_equal(part, again.parts[name])
    assert not first.training.equals(other.training)


def test_equal_rows_are_kept_once_and_counted(table):
    parts = split(pd.concat([table, table.head(7)], ignore_index=True))
    assert parts.duplicates == 7
    assert sum(len(part) for part in parts.parts.values()) == 400


def test_rows_that_differ_in_time_alone_are_all_kept(table):
    later = table.head(7).assign(Time=lambda rows: rows["Time"] + 0.5)
    assert split(pd.concat([table, later])).duplicates == 0


def test_integers_become_doubles_and_missing_values_stay(table):
    table["V2"] = np.arange(400)
    table.loc[::7, "V1"] = np.nan
    part = split(table).training
    assert part["V2"].dtype == np.float64
    assert part["V1"].isna().any()
    assert part["Class"].dtype == np.int64


BAD = {
    "no target": (lambda t: t.drop(columns="Class"), "column Class: the target must be there"),
    "target of three values": (
        lambda t: t.assign(Class=t["Time"] % 3),
        "column Class: the target must be 0 or 1",
    ),
    "target as text": (
        lambda t: t.assign(Class=t["Class"].map({0: "no", 1: "yes"})),
        "column Class: the target must be 0 or 1",
    ),
    "target missing": (
        lambda t: t.assign(Class=t["Class"].where(t["Time"] > 3)),
        "column Class: the target must not be missing",
    ),
    "one class": (
        lambda t: t.assign(Class=0),
        "column Class: the target must have both classes",
    ),
    "text": (lambda t: t.assign(V1="a"), "column V1: must be numeric"),
    "infinite": (
        lambda t: t.assign(V2=t["V2"].where(t["Time"] != 9, np.inf)),
        "column V2: must be finite",
    ),
    "a name that engines refuse": (
        lambda t: t.rename(columns={"V1": "income (USD)"}),
        "column income (USD): the name must consist of letters, digits and underscores",
    ),
    "missing in training": (
        lambda t: t.assign(V2=t["V2"].where(t["Time"] > 300)),
        "column V2: must not be missing in every training row",
    ),
    "all missing": (
        lambda t: t.assign(V2=np.nan),
        "column V2: must not be missing in every row",
    ),
    "time missing": (
        lambda t: t.assign(Time=t["Time"].where(t["Time"] > 3)),
        "column Time: the time must not be missing",
    ),
    "time as words": (
        lambda t: t.assign(Time="noon"),
        "column Time: the time must be a number or a timestamp",
    ),
    "no rows": (lambda t: t.head(0), "must hold rows"),
    "no features": (lambda t: t[["Time", "Class"]], "must hold a feature"),
    "a feature called id": (lambda t: t.assign(id=1.0), "column id: must be renamed"),
    "no positives late": (
        lambda t: t.assign(Class=t["Class"].where(t["Time"] < 240, 0)),
        "column Class: the validation split must hold at least 5 rows of each class",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_one_line_with_file_column_and_rule(table, name):
    spoil, rule = BAD[name]
    with pytest.raises(DataError) as caught:
        split(spoil(table))
    message = str(caught.value)
    assert message.startswith("data.csv: ")
    assert rule in message
    assert "\n" not in message


def test_temporal_split_needs_its_column(table):
    with pytest.raises(DataError, match="column Time: must be there for split=temporal"):
        split(table.drop(columns="Time"), "temporal")


def test_dates_order_the_rows(table, tmp_path):
    table["Time"] = pd.date_range("2024-01-01", periods=400).astype(str)
    table["order"] = np.arange(400.0)
    table.sample(frac=1, random_state=2).to_csv(tmp_path / "dated.csv", index=False)
    parts = split(read_table(str(tmp_path / "dated.csv")))
    assert parts.kind == "temporal"
    assert (parts.training["order"] == np.arange(240)).all()


@pytest.mark.parametrize("index", ["numbers", "Time"])
def test_parquet_with_an_index_of_pandas(table, tmp_path, index):
    shown = table[table["Time"] >= 0].iloc[::-1] if index == "numbers" else table.set_index("Time")
    shown.to_parquet(tmp_path / "indexed.parquet")
    parts = split(read_table(str(tmp_path / "indexed.parquet")))
    assert parts.features == ["V1", "V2"]
    assert parts.kind == "temporal"


def test_a_column_that_is_there_twice_is_refused():
    twice = csv.read_csv(io.BytesIO(b"V1,V1,Class\n1,2,0\n3,4,1\n"))
    with pytest.raises(DataError, match=r"data.csv: column V1: .* only once"):
        split(twice)


def test_csv_and_parquet_give_the_same_table(table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "b.bin", index=False)
    from_csv = read_table(str(tmp_path / "a.csv")).to_pandas()
    from_parquet = read_table((tmp_path / "b.bin").as_uri()).to_pandas()
    pd.testing.assert_frame_equal(from_csv, from_parquet)


UNREADABLE = {
    "empty.csv": b"",
    "short.parquet": b"PAR1 and then nothing",
    "binary.csv": b'"\x00\xff\n"",,,\n,',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_is_no_table_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(SourceError, match=name) as caught:
        read_table(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        read_table(str(tmp_path / "nowhere.csv"))


def test_the_sample_holds_all_frauds_and_every_twentieth_other_row():
    sample = read_source("sample").to_pandas()
    assert int(sample["Class"].sum()) == 492
    assert len(sample) == 14_709
    assert SAMPLE.stat().st_size <= 5e6
    assert list(sample.columns) == ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
