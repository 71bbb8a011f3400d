"""Features of logged rows as typed columns."""

import orjson
import pandas as pd
import pyarrow as pa
import pytest

from serving.model.features import Feature
from steps.data.feature_frames import joined_values, typed_frame
from steps.monitoring.logged_features import typed_columns
from steps.prediction_log.feature_decoder import FeatureDecoder

pytestmark = pytest.mark.quick

FEATURES = [
    Feature("score"),
    Feature("job", "category", levels=("clerk",)),
    Feature("since", "date", format="%d.%m.%Y"),
    Feature("member", "boolean", levels=("No", "Yes")),
    Feature("paid", "boolean"),
    Feature("charges", text=True),
]
ROW = {
    "score": 1.5, "job": "clerk", "since": "1999-02-01", "member": "Yes", "paid": False,
    "charges": 2.0,
}  # fmt: skip
TYPES = ["float64", "category", "datetime64[us]", "boolean", "boolean", "float64"]


def of_logged(*changes):
    return of_rows([None if change is None else ROW | change for change in changes])


def of_rows(rows):
    logged = [row and orjson.dumps(row).decode() for row in rows]
    with FeatureDecoder() as decoder:
        columns, complete = typed_columns(pa.array(logged, pa.string()), FEATURES, decoder)
    return pd.DataFrame(columns, index=range(len(rows))), complete


def joined(*frames):
    names = list(map(str, frames[0]))
    return pd.DataFrame({name: joined_values([f[name].array for f in frames]) for name in names})


def test_logged_values_have_the_types_of_their_kinds():
    frame, complete = of_logged({}, {"job": "pilot", "since": None, "member": None, "score": 2})
    assert list(map(str, frame.dtypes)) == TYPES
    assert complete.all()
    assert frame["job"].tolist() == ["clerk", "pilot"]
    assert frame["since"].tolist() == [pd.Timestamp("1999-02-01"), pd.NaT]
    assert frame["member"].tolist() == [True, pd.NA]
    assert frame["charges"].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"score": "7"},
        {"score": True},
        {"paid": 2.5},
        {"job": {"of": 1}},
        {"since": "soon"},
        {"member": "perhaps"},
        {"job": ["clerk"]},
    ],
)
def test_values_of_another_kind_are_missing_and_said(change):
    frame, complete = of_logged({}, change)
    assert complete.tolist() == [True, False]
    (name,) = change
    assert frame[name].isna().tolist() == [False, True]


def test_rows_without_features_are_said():
    _, complete = of_logged({}, None)
    assert complete.tolist() == [True, False]
    frame, complete = of_rows([{"score": 1.0}])
    assert (complete.tolist(), frame["score"].tolist()) == ([False], [1.0])


def test_chunks_with_other_levels_are_joined():
    empty, first, second = (of_logged(*rows)[0] for rows in ((), ({},), ({"job": "pilot"}, {})))
    whole = joined(empty, first, second)
    assert list(map(str, whole.dtypes)) == TYPES
    assert whole["job"].tolist() == ["clerk", "pilot", "clerk"]
    assert whole.index.tolist() == [0, 1, 2]


def test_chunk_without_any_level_is_joined():
    first, second = (of_logged({"job": job})[0] for job in ("clerk", None))
    for frames in ([first, second], [second, first], [second, second]):
        assert joined(*frames)["job"].isna().sum() == sum(f["job"].isna().sum() for f in frames)


def test_missing_values_are_no_absent_ones():
    absent = {name: value for name, value in ROW.items() if name != "score"}
    _, complete = of_rows([ROW | {"score": None}, absent, ROW])
    assert complete.tolist() == [True, False, True]


def test_stored_rows_are_read_in_their_kinds(tmp_path):
    frame, _ = of_logged({}, {"job": None, "since": None, "member": None}, {"paid": None})
    frame.to_parquet(tmp_path / "typed.parquet")
    again = typed_frame(pd.read_parquet(tmp_path / "typed.parquet"), FEATURES)
    pd.testing.assert_frame_equal(again, frame, check_categorical=False)
