"""Kinds of columns: what a person would say that they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from steps.data.splits import Splits
from steps.runtime.errors import DataError, ParameterError
from tests.support.odd_names import ODD_NAMES
from tests.support.tables import load, load_frame

pytestmark = pytest.mark.quick

ROWS = 400


def cycle(*values):
    return [values[place % len(values)] for place in range(ROWS)]


def distinct(text: str) -> list[str]:
    return [text.format(place) for place in range(ROWS)]


SHUFFLED = np.random.default_rng(0).permutation(10 * ROWS)[:ROWS].tolist()

# Name and values of a column; its kind, and further attributes of the feature.
KINDS = {
    "numbers": ("x", cycle(1.5, 2, None), "number", {"nullable": True}),
    "numbers as text": ("x", cycle("1", "2.5", " 3 ", "-4e2"), "number", {}),
    "numbers and blanks": ("x", cycle("1", "2.5", " "), "number", {"text": True, "nullable": True}),
    "numbers and NA": ("x", cycle("1", "2.5", "NA"), "number", {"nullable": True}),
    "a constant with gaps": ("x", cycle(1.5, None), "number", {"nullable": True}),
    "distinct fractions": ("id", [0.5 + i for i in SHUFFLED], "number", {}),
    "distinct integers": ("balance", SHUFFLED, "number", {}),
    "booleans": ("x", cycle(True, False, None), "boolean", {"nullable": True}),
    "yes and no": ("x", cycle("Yes", "no", "Yes"), "boolean", {"levels": ("no", "Yes")}),
    "t and f": ("x", cycle("T", "f", "F", "F"), "boolean", {"levels": ("F", "T")}),
    "yes and maybe": ("x", cycle("yes", "maybe"), "category", {"levels": ("maybe", "yes")}),
    "yes and n": ("x", cycle("yes", "n"), "category", {}),
    "yes or missing": ("x", cycle("yes", None), "category", {"levels": ("yes",), "nullable": True}),
    "leading zeros": ("x", cycle("007", "012", "007"), "category", {"levels": ("007", "012")}),
    "digits beyond all": ("x", cycle("1" * 40, "2" * 40), "category", {}),
    "ISO dates": ("x", cycle("2024-01-31", "2024-02-01"), "date", {"has_time": False}),
    "ISO times": ("x", cycle("2024-01-31T10:30:00", "2024-02-01"), "date", {"has_time": True}),
    "mixed zones": (
        "x", cycle("2024-01-31T01:00:00+01:00", "2024-02-01T00:00:00Z"), "date",
        {"has_time": False},
    ),
    "points": ("x", cycle("31.1.2024", "01.02.2024"), "date", {"format": "%d.%m.%Y"}),
    "day first": ("x", cycle("31/01/2024", "01/02/2024"), "date", {"format": "%d/%m/%Y"}),
    "month first": ("x", cycle("01/31/2024", "02/01/2024"), "date", {"format": "%m/%d/%Y"}),
    "year first": (
        "x", cycle("2024/01/31 10:30", "2024/02/01 11:00"), "date",
        {"format": "%Y/%m/%d %H:%M", "has_time": True},
    ),
    "dashes": ("x", cycle("31-01-2024", "01-02-2024"), "date", {"format": "%d-%m-%Y"}),
    "halves of the day": (
        "x", cycle("1/31/2024 3:05 PM", "2/1/2024 12:00 am"), "date",
        {"format": "%m/%d/%Y %I:%M %p", "has_time": True},
    ),
    "UTC in words, ends of the day": (
        "x", cycle("2024-01-31 10:30 UTC", "2024-01-31T24:00", "2024-01-31 01:00 +01:00"), "date",
        {"has_time": True},
    ),
    "names of zones": ("x", cycle("2024-01-31 10:30 Europe/Berlin", "2024-02-01"), "category", {}),
    "day or month first": ("x", cycle("01/02/2024", "02/02/2024"), "category", {}),
    "dates without an end": ("x", cycle("2024-01-31", "9999-12-31"), "date", {}),
    "two formats": ("x", cycle("31.1.2024", "2024-02-01"), "category", {}),
    "two-digit years": ("x", cycle("31.1.24", "1.2.24"), "category", {}),
    "sentences that recur": ("x", cycle("we are happy with it", "no, not at all"), "category", {}),
    "codes": ("x", distinct("c{}"), "identifier", {}),
    "codes of rows stored twice": ("x", [*distinct("c{}")[:-4], *["c7"] * 4], "identifier", {}),
    "codes that recur": ("x", [*distinct("c{}")[:-5], *["c7"] * 5], "category", {}),
    "numbers of rows stored twice": (
        "x", [*range(1000, 1000 + ROWS - 4), *range(1000, 1004)], "identifier", {},
    ),
    "ids of rows stored twice": (
        "customer_id", [*SHUFFLED[:-1], SHUFFLED[0]], "identifier", {},
    ),
    "numbers with few gaps": ("x", [*range(ROWS - 1), ROWS + 1], "number", {}),
    "consecutive numbers": ("x", list(range(1000, 1000 + ROWS)), "identifier", {}),
    "numbers called id": ("customer_id", SHUFFLED, "identifier", {}),
    "numbers called Id": ("CustomerId", SHUFFLED, "identifier", {}),
    "long numbers": ("x", [10**17 + 7 * i for i in SHUFFLED], "identifier", {}),
    "sentences": ("x", distinct("this is review {} of many"), "free text", {}),
    "a constant": ("x", cycle("a"), "constant", {}),
    "nothing": ("x", [np.nan] * ROWS, "all missing", {}),
}  # fmt: skip


@pytest.fixture
def described(table, tmp_path):
    """A function that loads a table with one more column, from a file of a kind."""

    def loaded(name: str, values: list, kind: str, **rules) -> Splits:
        frame = table.drop(columns="Time").assign(**{name: values})
        file = tmp_path / f"a.{kind}"
        frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file, index=False)
        return load(str(file), tmp_path, **({"id_column": ""} | rules))

    return loaded


def column_of(splits: Splits, name: str) -> dict:
    return next(column for column in splits.description.columns if column["name"] == name)


@pytest.mark.parametrize("file", ["csv", "parquet"])
@pytest.mark.parametrize("case", KINDS)
def test_kinds_are_recognised(described, case, file):
    name, values, kind, attributes = KINDS[case]
    splits = described(name, values, file)
    assert column_of(splits, name)["kind"] == kind
    features = [feature for feature in splits.features if feature.name == name]
    assert len(features) == (kind in ("number", "boolean", "category", "date"))
    for feature in features:
        assert {key: getattr(feature, key) for key in attributes} == attributes
        assert name in splits.training.frame


def test_left_out_columns_say_why(described):
    reasons = {
        case: column_of(described(*KINDS[case][:2], "csv"), KINDS[case][0])["becomes"]
        for case in (
            "codes", "codes of rows stored twice", "consecutive numbers", "sentences", "a constant",
            "nothing",
        )
    }  # fmt: skip
    assert reasons == {
        "codes": "left out: each row has another text",
        "codes of rows stored twice": "left out: each row has another text, but for 4 repeated",
        "consecutive numbers": "left out: consecutive numbers",
        "sentences": "left out: mostly distinct texts of several words",
        "a constant": "left out: all values are 'a'",
        "nothing": "left out: it has no values",
    }


def test_ambiguous_dates_are_said(described):
    splits = described("x", KINDS["day or month first"][1], "csv")
    assert "%d/%m/%Y or %m/%d/%Y cannot be told apart" in column_of(splits, "x")["becomes"]


@pytest.mark.parametrize("distinct_values", [True, False])
def test_few_values_that_are_no_numbers_are_said(described, distinct_values):
    values = [f"{i if distinct_values else i % 7}.5" for i in range(ROWS)]
    splits = described("x", ["unknown", *values[1:]], "csv")
    assert "numbers but for 1 such as 'unknown'" in column_of(splits, "x")["becomes"]


def test_types_without_a_kind_are_left_out(described):
    splits = described("x", [[1, 2]] * ROWS, "parquet")
    assert column_of(splits, "x")["kind"] == "unsupported"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 10**17 + 1], ("1", str(10**17 + 1))),
        ([1.0, 2.5], ("1", "2.5")),
        ([1e-05, 123456789.125], ("1e-05", "123456789.125")),
        ([True, False], ("false", "true")),
    ],
)
def test_categories_of_numbers_are_the_texts_of_the_service(described, values, expected):
    splits = described("x", cycle(*values), "parquet", categorical=["x"])
    (feature,) = [feature for feature in splits.features if feature.name == "x"]
    assert sorted(feature.levels) == sorted(expected)
    assert set(map(feature.parse, values)) == set(expected)


def test_overrides_keep_what_looks_like_an_identifier(described):
    splits = described("x", distinct("c{}"), "csv", categorical=["x"])
    assert column_of(splits, "x")["kind"] == "category"
    splits = described("x", list(range(ROWS)), "csv", numeric=["x"])
    assert column_of(splits, "x")["kind"] == "number"
    splits = described("x", cycle("007", "012"), "csv", numeric=["x"])
    assert set(splits.training.frame["x"]) == {7, 12}


def test_dropped_columns_are_listed(described):
    splits = described("x", cycle(1, 2), "csv", drop=["x", "V2"])
    assert splits.names == ["V1"]
    assert column_of(splits, "x")["becomes"] == "left out by drop"


@pytest.mark.parametrize(
    ("values", "rules", "error", "message"),
    [
        (cycle("1", "n.a."), {"numeric": ["x"]}, DataError, "x: row 2: 'n.a.' is no number"),
        (cycle("yes", "no"), {"numeric": ["x"]}, DataError, "x: row 1: 'yes' is no number"),
        (cycle(True, False), {"numeric": ["x"]}, DataError, "x: row 1: 'true' is no number"),
        (cycle(*pd.date_range("2024", periods=3)), {"categorical": ["x"]}, DataError,
         "x: values of type TIMESTAMP"),
        (cycle(2**60, 1), {}, DataError, "x: row 1: 1152921504606846976 is beyond 2^53"),
        (cycle("9007199254740993", "0.5"), {"numeric": ["x"]}, DataError,
         "x: row 1: 9007199254740993 is beyond 2^53"),
        (pd.Series(cycle("2024-01-01", "20000-01-01")).to_numpy("datetime64[s]"), {}, DataError,
         "x: row 2: 20000-01-01 00:00:00 is outside the years 1 to 9999"),
        (cycle("a", "b\0c"), {}, DataError, "x: row 2: the text contains a NUL character; remove"),
        (cycle(1, 2), {"drop": ["X"]}, ParameterError, "no column 'X'; did you mean one of: x"),
        (cycle(1, 2), {"drop": ["x"], "numeric": ["x"]}, ParameterError,
         "numeric: column x is also drop; name it in one of them"),
        (cycle(1, 2), {"categorical": ["Class"]}, ParameterError, "column Class is also target"),
        (cycle(1, 2), {"drop": ["x", "V1", "V2"]}, DataError, "no feature columns besides target"),
    ],
)  # fmt: skip
def test_contradictions_are_one_line(described, values, rules, error, message):
    with pytest.raises(error, match=r".") as caught:
        described("x", values, "parquet", **rules)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["csv", "parquet"])
def test_names_are_any_text(tmp_path, file):
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(ROWS, len(ODD_NAMES))), columns=list(ODD_NAMES))
    frame["v1"] = cycle("a", "b", None)
    frame["Class?"] = cycle("no", "no", "yes")
    path = tmp_path / f"a.{file}"
    frame.to_csv(path, index=False) if file == "csv" else frame.to_parquet(path, index=False)
    splits = load(str(path), tmp_path, "Class?")
    assert splits.names == list(ODD_NAMES)
    assert set(splits.training.frame["v1"].dropna()) == {"a", "b"}
    assert splits.description.repeated_in_test == 0


def test_another_id_column_leaves_id_a_feature(table, tmp_path):
    frame = table.drop(columns="Time").assign(id=cycle(1.5, 2.5), customerID=distinct("c{}"))
    splits = load_frame(frame, tmp_path, id_column="customerID")
    assert splits.names == ["V1", "V2", "id"]
    assert splits.description.id_column == "customerID"
    assert sorted(splits.all_rows()["customerID"]) == sorted(frame["customerID"])
    assert splits.description.equal_rows == "drop"


def test_features_that_do_not_vary_in_training_are_left_out(table, tmp_path):
    table["V2"] = table["V2"].where(table["Time"] > 300)
    table["late"] = np.where(table["Time"] > 300, "new", "old")
    splits = load_frame(table, tmp_path)
    assert splits.names == ["V1"]
    assert column_of(splits, "late")["becomes"] == "left out: it does not vary in the training rows"


def test_all_kinds_survive_their_files(tmp_path: Path):
    random = np.random.default_rng(2)
    days = pd.Timestamp("2024-01-31") + pd.to_timedelta(random.integers(0, 99, ROWS), "D")
    frame = pd.DataFrame(
        {
            "Time": range(ROWS),
            "number": random.normal(size=ROWS),
            "boolean": cycle(True, False, None),
            "category": cycle("a", "b", None),
            "date": pd.Series(days).where(np.arange(ROWS) % 7 > 0).astype("datetime64[us]"),
            "Class": cycle(0, 0, 1),
        }
    )
    splits = load_frame(frame, tmp_path)
    pd.testing.assert_frame_equal(splits.all_rows(), frame)
    digests = splits.description.digests
    (tmp_path / "again").mkdir()
    frame.loc[6, "category"] = "c"
    changed = load_frame(frame, tmp_path / "again").description.digests
    assert [digests[name] == changed[name] for name in digests] == [False, True, True]
