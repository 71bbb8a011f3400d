"""Values of features on each way into a model."""

import re
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from serving.errors import InputError, InvalidFieldsError, Violation
from serving.model.features import Feature
from serving.model.schema import FeatureSchema
from serving.model.values import TOO_LARGE, parse_text

pytestmark = pytest.mark.quick

NUMBERS = FeatureSchema([Feature("V1"), Feature("gap", nullable=True)])
MIXED = FeatureSchema(
    [
        Feature("job", "category", nullable=True, levels=("clerk", "NA")),
        Feature("age"),
        Feature("member", "boolean", nullable=True, levels=("No", "Yes")),
        Feature("since", "date", nullable=True, format="%d.%m.%Y"),
        Feature("charges", nullable=True, text=True),
    ]
)
RAW = {
    "job": ["clerk", "nurse", None, "NA"],
    "age": [31, 44.5, -1, 0],
    "member": ["Yes", "no", None, True],
    "since": ["2021-03-04", "01.02.1999", None, "1969-12-31"],
    "charges": ["1.50", " ", "-2e3", None],
}
LOGGED = [
    {"job": "clerk", "age": 31, "member": "Yes", "since": "2021-03-04", "charges": 1.5},
    {"job": "nurse", "age": 44.5, "member": "No", "since": "1999-02-01", "charges": None},
    {"job": None, "age": -1, "member": None, "since": None, "charges": -2000},
    {"job": "NA", "age": 0, "member": "Yes", "since": "1969-12-31", "charges": None},
]
NOT_NULL = "must not be null: the training data had no missing values in this column"


def test_all_inputs_give_the_same_numbers():
    columns = {"gap": [2.0, None], "V1": [1, -1]}
    expected = [[1.0, 2.0], [-1.0, np.nan]]
    for rows in (
        NUMBERS.parse_columns([columns["V1"], columns["gap"]]),
        NUMBERS.parse_frame(pd.DataFrame(columns)),
        NUMBERS.parse_batch(pa.RecordBatch.from_pydict(columns)),
    ):
        np.testing.assert_array_equal(rows.numbers, expected)
        assert rows.numbers.flags["C_CONTIGUOUS"]
        assert rows.to_dicts() == [{"V1": 1.0, "gap": 2.0}, {"V1": -1.0, "gap": None}]


def test_all_inputs_give_the_same_mixed_rows():
    texts = RAW | {"member": ["Yes", "no", None, "TRUE"]}
    for rows in (
        MIXED.parse_columns(list(RAW.values())),
        MIXED.parse_frame(pd.DataFrame(RAW)),
        MIXED.parse_batch(pa.RecordBatch.from_pydict(texts)),
    ):
        assert rows.to_dicts() == LOGGED


def test_logged_rows_are_valid_input():
    columns = [[row[name] for row in LOGGED] for name in MIXED.names]
    assert MIXED.parse_columns(columns).to_dicts() == LOGGED


def test_texts_of_csv_are_converted_by_kind():
    schema = FeatureSchema([Feature("zip", "category", nullable=True), Feature("n", nullable=True)])
    rows = schema.parse_texts([["007", "", "1.0"], ["7", " ", "1e3"]])
    assert rows.to_dicts() == [
        {"zip": "007", "n": 7},
        {"zip": None, "n": None},
        {"zip": "1.0", "n": 1000},
    ]


@pytest.mark.parametrize(
    "series",
    [
        pd.Series(pd.to_datetime(["2021-03-04 05:06:07", None])),
        pd.Series(pd.to_datetime(["2021-03-04 06:06:07+01:00", None])),
        pd.Series([datetime(2021, 3, 4, 5, 6, 7, tzinfo=UTC), None], dtype=object),
        pd.Series(["2021-03-04T05:06:07Z", None]),
        pd.Series(["2021-03-04 02:06:07-03:00", ""]),
    ],
    ids=["naive", "zoned", "objects", "texts", "another zone"],
)
def test_dates_of_any_dtype_are_converted_to_utc(series):
    schema = FeatureSchema([Feature("at", "date", nullable=True, has_time=True)])
    rows = schema.parse_frame(pd.DataFrame({"at": series}))
    assert rows.to_dicts() == [{"at": "2021-03-04T05:06:07"}, {"at": None}]


@pytest.mark.parametrize(
    ("kind", "series", "logged"),
    [
        ("boolean", pd.Series([True, None], dtype="boolean"), [True, None]),
        ("boolean", pd.Series([1, 0]), [True, False]),
        ("category", pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        ("category", pd.Series([7, 8]), ["7", "8"]),
        ("category", pd.Series([7.0, None]), ["7", None]),
        ("category", pd.Series([True, False]), ["true", "false"]),
        ("date", pd.Series([date(2020, 2, 29), date(9999, 12, 31)]), ["2020-02-29", "9999-12-31"]),
        ("number", pd.Series([1, None], dtype="Int64"), [1, None]),
    ],
)
def test_frames_of_other_dtypes_are_converted(kind, series, logged):
    schema = FeatureSchema([Feature("x", kind, nullable=True)])
    assert [
        row["x"] for row in schema.parse_frame(pd.DataFrame({"x": series})).to_dicts()
    ] == logged


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (Feature("x", nullable=True), "column x: must have numbers, not "),
        (Feature("x", text=True, nullable=True), "column x, row 1: must be a number, not Time"),
        (Feature("x", "category", nullable=True), "column x, row 1: must be text, not Timestamp"),
        (
            Feature("x", "boolean", nullable=True),
            "column x, row 1: must be a boolean, not Timestamp",
        ),
    ],
)
def test_datetimes_are_refused_where_other_kinds_are_expected(feature, message):
    schema = FeatureSchema([feature])
    rows = pd.DataFrame({"x": pd.to_datetime([None, "2020-02-29", "2020-03-01"])})
    for parse, given in (
        (schema.parse_frame, rows),
        (schema.parse_batch, pa.RecordBatch.from_pandas(rows)),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            parse(given)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.to_datetime(["2020-02-29"] * 2)).astype("category"),
        pd.Series([1, np.datetime64("2020-02-29")], dtype=object),
        pd.Series([1, np.datetime64("2020-02-29")], dtype=object).astype("category"),
        pd.Series([np.timedelta64(1, "s")] * 2, dtype=object),
        pd.Series([1 + 2j] * 2),
        pd.Series([b"1"] * 2),
        pd.Series([b"1"] * 2).astype("category"),
    ],
)
def test_frames_with_values_of_another_meaning_are_refused(values):
    with pytest.raises(InputError, match=r"^column x: must have numbers, not "):
        FeatureSchema([Feature("x")]).parse_frame(pd.DataFrame({"x": values}))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"1"]),
        pa.array([b"1"], pa.binary(1)),
        pa.array([b"1"]).dictionary_encode(),
        pa.array([1], pa.duration("s")),
        pa.array([[1]]),
        pa.array(["1", "a"]),
    ],
)
def test_batches_with_values_of_another_meaning_are_refused(values):
    rows = pa.RecordBatch.from_arrays([values], ["x"])
    with pytest.raises(InputError, match=r"^column x: must have numbers, not "):
        FeatureSchema([Feature("x")]).parse_batch(rows)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1]]),
        pa.array([{"a": 1}]),
        pa.array([2**62], pa.duration("s")),
        pa.array([1], pa.time32("s")),
    ],
)
@pytest.mark.parametrize("kind", ["boolean", "date", "category"])
def test_batches_of_unsupported_types_are_refused(kind, values):
    rows = pa.RecordBatch.from_arrays([values], ["x"])
    reason = re.escape(f"column x: values of type {values.type} are not supported")
    with pytest.raises(InputError, match=f"^{reason}$"):
        FeatureSchema([Feature("x", kind)]).parse_batch(rows)


def test_dictionaries_with_unsigned_indices_are_read():
    texts = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint8()), pa.array(["a", "b"]))
    schema = FeatureSchema([Feature("x", "category", nullable=True)])
    rows = schema.parse_batch(pa.RecordBatch.from_arrays([texts], ["x"]))
    assert [row["x"] for row in rows.to_dicts()] == ["b", None, "a"]


@pytest.mark.parametrize("level", ["no date", "\0"])
def test_levels_that_no_row_has_are_not_checked(level):
    schema = FeatureSchema([Feature("x", "date", nullable=True)])
    texts = pa.DictionaryArray.from_arrays([1, None], pa.array([level, "1970-01-01"]))
    rows = schema.parse_batch(pa.RecordBatch.from_arrays([texts], ["x"]))
    assert [row["x"] for row in rows.to_dicts()] == ["1970-01-01", None]


def test_frames_of_arrow_nulls_are_missing_values():
    schema = FeatureSchema([Feature("x", "date", nullable=True)])
    nulls = pd.Series([None], dtype=pd.ArrowDtype(pa.null()))  # pandas has a level without rows
    assert schema.parse_frame(pd.DataFrame({"x": nulls})).to_dicts() == [{"x": None}]


@pytest.mark.parametrize("name", [*MIXED.names, "other"])
def test_repeated_columns_are_refused_if_a_feature_has_their_name(name):
    once = pa.Table.from_pydict(RAW | {"member": ["Yes", "no", None, "TRUE"], "other": [1] * 4})
    twice = once.append_column(name, once[name])
    for parse, rows in (
        (MIXED.parse_frame, pd.concat([once.to_pandas(), once.to_pandas()[[name]]], axis=1)),
        (MIXED.parse_batch, twice.to_batches()[0]),
    ):
        if name == "other":
            assert len(parse(rows)) == 4
        else:
            with pytest.raises(InputError, match=f"^repeated column {name}$"):
                parse(rows)


def test_columns_that_a_batch_lacks_are_named():
    batch = pa.RecordBatch.from_pydict({"age": [1.0], "since": [None], "charges": [None]})
    with pytest.raises(InputError, match=r"^missing columns job, member$"):
        MIXED.parse_batch(batch)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_inexact_integers_are_refused(value):
    columns = {"V1": [1, value], "gap": [2, None]}
    mixed = {"job": ["a", "a"], "age": [1, value], **{name: [None] * 2 for name in MIXED.names[2:]}}
    for schema, name, given in ((NUMBERS, "V1", columns), (MIXED, "age", mixed)):
        with pytest.raises(InvalidFieldsError) as refused:
            schema.parse_columns(list(given.values()))
        assert refused.value.violations == [Violation(name, TOO_LARGE, 1)]
        for parse, rows in (
            (schema.parse_frame, pd.DataFrame(given)),
            (schema.parse_frame, pd.DataFrame(given, dtype=object)),
            (schema.parse_batch, pa.RecordBatch.from_pydict(given)),
        ):
            with pytest.raises(InputError) as refused:
                parse(rows)
            assert str(refused.value) == f"column {name}, row 1: {TOO_LARGE}"
    with pytest.raises(InvalidFieldsError) as refused:
        NUMBERS.parse_texts([["1", str(value)], ["2", ""]])
    assert refused.value.violations == [Violation("V1", TOO_LARGE, 1)]


def test_large_exact_numbers_are_accepted():
    columns = {"V1": [2**53, 1e300], "gap": [-(2**53), None]}
    for rows in (
        NUMBERS.parse_columns(list(columns.values())),
        NUMBERS.parse_texts([["9007199254740992", f"1{300 * '0'}"], ["-9007199254740992.0", ""]]),
        NUMBERS.parse_frame(pd.DataFrame(columns)),
        NUMBERS.parse_batch(
            pa.RecordBatch.from_pydict({"V1": [2.0**53, 1e300], "gap": [-(2**53), None]})
        ),
    ):
        assert rows.to_dicts() == [{"V1": 2**53, "gap": -(2**53)}, {"V1": 1e300, "gap": None}]
    job = FeatureSchema([Feature("job", "category")])
    assert job.parse_columns([[2**53 + 1]]).to_dicts() == [{"job": "9007199254740993"}]


@pytest.mark.parametrize(("value", "rule"), [(None, NOT_NULL), (np.inf, "must be finite")])
def test_all_inputs_have_the_same_rules(value, rule):
    columns = {"V1": [1.0, value], "gap": [2.0, 2.0]}
    with pytest.raises(InvalidFieldsError) as refused:
        NUMBERS.parse_columns(list(columns.values()))
    assert refused.value.violations == [Violation("V1", rule, 1)]
    for parse, rows in (
        (NUMBERS.parse_frame, pd.DataFrame(columns)),
        (NUMBERS.parse_batch, pa.RecordBatch.from_pydict(columns)),
    ):
        with pytest.raises(InputError) as refused:
            parse(rows)
        assert str(refused.value) == f"column V1, row 1: {rule}"


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("job", ["a"], "must be text, not a list"),
        ("job", "a\0", "must be plain text"),
        ("age", "31", "must be a number, not a string, '31'"),
        ("age", None, NOT_NULL),
        ("member", "maybe", "must be No or Yes, not a string, 'maybe'"),
        ("member", 2, "must be No or Yes, not 2"),
        (
            "since",
            "2021-02-30",
            "must be a date (ISO 8601 or %d.%m.%Y), not a string, '2021-02-30'",
        ),
        ("since", 20210304, "must be a date, not 20210304"),
        (
            "since",
            "0001-01-01T00:00:00+14:00",
            "must be a date (ISO 8601 or %d.%m.%Y), not a string, '0001-01-01T00:00:00+14:00'",
        ),
        ("charges", "much", "must be a number, not a string, 'much'"),
        ("charges", True, "must be a number, not a boolean"),
        ("charges", "1e999", "must be finite"),
    ],
)
def test_invalid_value_of_each_kind_is_named(name, value, rule):
    columns = [list(values) for values in RAW.values()]
    columns[MIXED.names.index(name)][2] = value
    with pytest.raises(InvalidFieldsError) as refused:
        MIXED.parse_columns(columns)
    (violation,) = refused.value.violations
    assert (violation.field, violation.row) == (name, 2)
    assert violation.rule.startswith(rule)


def test_missing_category_is_refused_if_training_had_none():
    schema = FeatureSchema([Feature("job", "category", levels=("clerk",))])
    for parse, rows in (
        (schema.parse_columns, [["clerk", None]]),
        (schema.parse_frame, pd.DataFrame({"job": ["clerk", None]})),
    ):
        with pytest.raises(InputError, match=f"job, row 1: {NOT_NULL}"):
            parse(rows)


def test_columns_name_the_first_violation_of_each():
    with pytest.raises(InvalidFieldsError) as refused:
        NUMBERS.parse_columns([[1, "a", "b"], [True, None, 1]])
    assert str(refused.value) == (
        "V1, row 1: must be a number, not a string, 'a'; "
        "gap, row 0: must be a number, not a boolean"
    )


def test_frames_name_the_text_in_place_of_a_number():
    frame = pd.DataFrame({"V1": ["1", "x" * 50], "gap": [1, 2]})
    rule = f"must be a number, not a string, '{'x' * 40}'"
    with pytest.raises(InputError, match=f"^column V1, row 1: {rule}$"):
        NUMBERS.parse_frame(frame)


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), (" ", None), ("NA", None), ("1e3", 1000.0), ("1_0", "1_0"), ("much", "much")],
)
def test_form_fields_are_parsed(text, value):
    assert parse_text(text) == value
