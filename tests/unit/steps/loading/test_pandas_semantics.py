"""Deduplication, order and splits in DuckDB against those in pandas."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from steps.data.split_files import ROW_GROUP, digest_of_file
from tests.support.pandas_split import pandas_split
from tests.support.tables import load, load_frame

pytestmark = pytest.mark.quick

TRICKY = (0.0, -0.0, np.nan, 1.0, 0.1, 1e300, -1e-300, 2.0**53, 5e-324)
LARGE_TIMES = (2**53, 2**53 + 1, 2**53 + 2, 3)


@st.composite
def frames(draw):
    """Tables with few distinct values, so that many rows are equal."""
    n_rows = draw(st.integers(130, 260))
    seed = draw(st.integers(0, 2**31 - 1))
    random = np.random.default_rng(seed)
    values = np.array([*draw(st.lists(st.sampled_from(TRICKY), max_size=9)), 7.0])
    single_or_double = draw(st.sampled_from(["f4", "f8"]))
    frame = pd.DataFrame(
        {
            "a": random.choice(values, n_rows),
            "b": random.choice(values[~(values > 1e30)], n_rows).astype(single_or_double),
            "n": random.integers(-3, 3, n_rows).astype(draw(st.sampled_from(["i1", "i4", "i8"]))),
            "Class": (random.random(n_rows) < 0.5).astype(draw(st.sampled_from(["i8", "?"]))),
            "u": random.integers(0, draw(st.sampled_from([1, 2, 50])), n_rows).astype("f8"),
        }
    )
    kind = draw(st.sampled_from(["none", "large", "float", "date", "zone"]))
    if kind == "none":
        return frame
    places = random.integers(0, 4, n_rows)
    times = {
        "large": np.array(LARGE_TIMES)[places],
        "float": np.array([0.5, -0.0, 0.0, 1e18])[places],
        "date": pd.to_datetime("2026-01-01") + pd.to_timedelta(places, "us"),
        "zone": pd.to_datetime("2026-03-29", utc=True) + pd.to_timedelta(places, "h"),
    }
    return frame.assign(Time=times[kind])


def varies(values: pd.Series) -> bool:
    return values.nunique() > 1


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames(), st.sampled_from(["drop", "keep"]), st.sampled_from(["auto", "stratified"]))
def test_splits_equal_those_of_pandas(frame, duplicates, split):
    kind = "temporal" if split == "auto" and "Time" in frame else "stratified"
    expected = pandas_split(frame, "Class", "Time", kind, duplicates == "drop", 3)
    classes = [min(part["Class"].sum(), (1 - part["Class"]).sum()) for part in expected.frames]
    assume(classes[0] >= 20 and min(classes) >= 5)
    assume(all(varies(part[name]) for part in (frame, expected.frames[0]) for name in "abnu"))
    with tempfile.TemporaryDirectory() as name:
        splits = load_frame(frame, Path(name), duplicates=duplicates, split=split, seed=3)
        assert splits.description.duplicates == expected.duplicates
        parts = (splits.training, splits.validation, splits.test)
        for place, (part, frame_) in enumerate(zip(parts, expected.frames, strict=True)):
            pd.testing.assert_frame_equal(part.frame, frame_.reset_index(drop=True))
            assert (np.signbit(part.X["a"]) == np.signbit(frame_["a"].to_numpy())).all()
            file = Path(name) / "expected.parquet"
            frame_.to_parquet(file, index=False, row_group_size=ROW_GROUP)
            assert part.file.read_bytes() == file.read_bytes()
            assert digest_of_file(file) == splits.description.digests[part.name]
            if expected.times:
                times = splits.times_of(part)
                assert (times.to_numpy() == expected.times[place].to_numpy()).all()


def test_large_files_equal_those_of_pandas(tmp_path):
    random = np.random.default_rng(0)
    n_rows = 250_000
    frame = pd.DataFrame(
        {
            "Time": random.integers(0, 9, n_rows),
            "V1": random.integers(0, 300, n_rows) / 3,
            "V2": np.where(random.random(n_rows) < 0.1, np.nan, random.integers(0, 9, n_rows)),
            "Class": random.integers(0, 2, n_rows),
        }
    )
    splits = load_frame(frame, tmp_path)
    expected = pandas_split(frame, "Class", "Time", "temporal", True, 42)
    assert splits.description.duplicates == expected.duplicates > 100_000
    for part, frame_ in zip(
        (splits.training, splits.validation, splits.test), expected.frames, strict=True
    ):
        file = tmp_path / "expected.parquet"
        frame_.to_parquet(file, index=False, row_group_size=ROW_GROUP)
        assert part.file.read_bytes() == file.read_bytes()


def test_csv_and_parquet_give_the_same_files(table, tmp_path):
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_parquet(tmp_path / "a.parquet", index=False)
    folders = [tmp_path / name for name in ("csv", "parquet")]
    for folder in folders:
        folder.mkdir()
        load(str(tmp_path / f"a.{folder.name}"), folder)
    for name in ("training", "validation", "test", "times"):
        first, second = (folder.joinpath(f"{name}.parquet").read_bytes() for folder in folders)
        assert first == second


@pytest.mark.parametrize("values", ["int64", "uint64", "Int64"])
def test_integers_beyond_doubles_are_refused(table, tmp_path, values):
    table["V1"] = pd.Series(range(400), dtype=values) // 2
    table.loc[6, "V1"] = 2**53 + 1
    with pytest.raises(Exception, match=f"column V1: row 7: {2**53 + 1} is beyond 2\\^53"):
        load_frame(table, tmp_path)
