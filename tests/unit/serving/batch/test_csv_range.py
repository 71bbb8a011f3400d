"""Ranges of CSV files: each line belongs to one of them."""

import re

import pyarrow as pa
import pytest

from serving.batch.csv_range import CsvRange
from serving.errors import InputError

COLUMNS = ("name", "x", "note")
LINES = ["a,1,", 'b,0.1,"with, comma"', 'ü,-2.5e-3,"a ""quote"""', "", "d,17,end"]
ROWS = [
    {"name": "a", "x": 1.0, "note": None},
    {"name": "b", "x": 0.1, "note": "with, comma"},
    {"name": "ü", "x": -2.5e-3, "note": 'a "quote"'},
    {"name": "d", "x": 17.0, "note": "end"},
]


def read(file, start=0, size=1_000):
    batches = CsvRange(str(file), start, size, COLUMNS, ("x",)).read()
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "in.csv"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
def test_each_line_is_in_one_range(file, line_end, last, begin):
    content = begin + line_end.join([",".join(COLUMNS), *LINES]) + last
    file.write_bytes(content.encode())
    for size in range(1, len(content.encode()) + 1):
        starts = range(0, len(content.encode()), size)
        assert [row for start in starts for row in read(file, start, size)] == ROWS, size


@pytest.mark.parametrize("text", ["", '""', "NA", " ", "null"])
def test_texts_for_missing_numbers_are_null(file, text):
    file.write_text(f"name,x,note\na, 1 ,NA\nb,{text},\n")
    assert read(file) == [
        {"name": "a", "x": 1.0, "note": "NA"},
        {"name": "b", "x": None, "note": None},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b,many,", "column x, row 1: must be a number, not a string, 'many'"),
        ("b,2", "row 1: must have one value for each of 3 columns, not 'b,2'"),
        ("b,2,c,d", "row 1: must have one value for each of 3 columns, not 'b,2,c,d'"),
        ('b,2,"open\nc,3,', "row 1: a value has a line end, or a quote is not closed"),
        ('b,2,\nc,3,"d\ne"', "row 2: a value has a line end, or a quote is not closed"),
        ('b,"2\nc",3', "row 1: a value has a line end, or a quote is not closed"),
    ],
)
def test_malformed_line_is_named(file, line, message):
    file.write_text(f"name,x,note\na,1,\n{line}\n")
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        read(file)


def test_other_encodings_are_refused(file):
    file.write_bytes("name,x,note\nü,1,\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"^must be CSV in UTF-8: .*invalid UTF8 data"):
        read(file)


def test_types_do_not_depend_on_values(file):
    file.write_text("name,x,note\n1,NA,\n")
    (batch,) = CsvRange(str(file), 0, 100, COLUMNS, ("x",)).read()
    assert batch.schema.types == [pa.string(), pa.float64(), pa.string()]
