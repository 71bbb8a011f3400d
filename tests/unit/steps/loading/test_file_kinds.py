"""Kinds of files: each is read as it is, or refused in one line."""

import bz2
import functools
import gzip
import http.server
import io
import lzma
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from steps.loading.reading import read_source
from steps.runtime.errors import PipelineError
from tests.support.tables import load

pytestmark = pytest.mark.quick

ROWS = ["1.5,2,x", "-0.25,3,y", "1e3,4,z"]
TEXT = "\n".join(["a,b,größe", *ROWS, ""])
EXPECTED = {"a": [1.5, -0.25, 1000.0], "b": [2, 3, 4], "größe": ["x", "y", "z"]}
GERMAN = 'a;b;größe\r\n1,5;2;x\r\n"-0,25";3;y\r\n1e3;4;z\r\n'


def zipped(*members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member in members:
            archive.writestr(member, TEXT)
    return content.getvalue()


def zstd() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(TEXT.encode())
    return sink.getvalue().to_pybytes()


SAME = {
    "plain.csv": TEXT.encode(),
    "semicolons.csv": TEXT.replace(",", ";").encode(),
    "tabs.tsv": TEXT.replace(",", "\t").encode(),
    "bars.txt": TEXT.replace(",", "|").encode(),
    "german.csv": GERMAN.encode("cp1252"),
    "german_tabs.txt": GERMAN.replace(";", "\t").encode("utf-16"),
    "quotes.csv": TEXT.replace("x", '"x"').replace("a,b", '"a","b"').encode(),
    "byte_order_mark.csv": TEXT.encode("utf-8-sig"),
    "utf16.csv": TEXT.encode("utf-16"),
    "utf16_without_mark.csv": TEXT.encode("utf-16-le"),
    "windows.csv": TEXT.encode("cp1252"),
    "cr.csv": TEXT.replace("\n", "\r").encode(),
    "crlf.csv": TEXT.replace("\n", "\r\n").encode(),
    "mixed_line_ends.csv": TEXT.replace("\n", "\r\n", 2).encode(),
    "no_last_line_end.csv": TEXT.rstrip().encode(),
    "blank_lines.csv": (TEXT + "\n\n\n").encode(),
    "empty_rows.csv": (TEXT + ",,\n,,\n").encode(),
    "packed.csv.gz": gzip.compress(TEXT.encode()),
    "packed.zip": zipped("table.csv"),
    "packed.csv.bz2": bz2.compress(TEXT.encode()),
    "packed.csv.xz": lzma.compress(TEXT.encode("utf-16")),
    "packed.csv.zst": zstd(),
    "index.csv": "\n".join(
        [",a,b,größe", *(f"{i},{row}" for i, row in enumerate(ROWS))]
    ).encode(),
    "empty_last_column.csv": TEXT.replace("\n", ",\n").encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_csv_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(SAME[name])
    assert read_source(str(tmp_path / name)).to_pydict() == EXPECTED


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["007", "123"], ["007", "123"]),
        (["0", "-12"], [0, -12]),
        (["1", "2.5"], [1.0, 2.5]),
        (["9007199254740993", "1"], [9007199254740993, 1]),
        (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
        (["true", "FALSE"], [True, False]),
        (["2026-01-01", "2026-01-02T03:04:05"],
         [datetime(2026, 1, 1), datetime(2026, 1, 2, 3, 4, 5)]),
        (["2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"],
         [datetime(2026, 1, 1, tzinfo=UTC)] * 2),
        (["NA", "N/A", "NaN", "null", "None", "", '"NA"', '""', "NULL", "4"], [None] * 9 + [4]),
        (["none", "nil"], ["none", "nil"]),
        (["1", "abc"], ["1", "abc"]),
        ([" 1 ", " "], [1, None]),
        (['"a, b"', '"c ""d"""', '"e\nf"'], ["a, b", 'c "d"', "e\nf"]),
    ],
)  # fmt: skip
def test_values_of_csv(tmp_path, column, expected):
    rows = "".join(f"{value},0\n" for value in column)
    (tmp_path / "a.csv").write_text(f"a,b\n{rows}")
    assert read_source(str(tmp_path / "a.csv"))["a"].to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1,5", "2"], [1.5, 2.0]),
        (["1.234,5", "12"], [1234.5, 12.0]),
        (["1,5", "1.5"], ["1,5", "1.5"]),
    ],
)
def test_decimal_commas(tmp_path, values, expected):
    rows = "".join(f"{value};0,25\n" for value in values)
    (tmp_path / "a.csv").write_text(f"a;b\n{rows}")
    table = read_source(str(tmp_path / "a.csv"))
    assert table["a"].to_pylist() == expected
    assert table["b"].to_pylist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("late", "type_"),
    [("2.5", "double"), ("007", "string"), ("abc", "string"), ("12345678901234567890", "decimal")],
)
def test_types_follow_from_all_rows(tmp_path, late, type_):
    rows = "\n".join(["1,0"] * 25_000)
    (tmp_path / "a.csv").write_text(f"a,b\n{rows}\n{late},0\n")
    table = read_source(str(tmp_path / "a.csv"))
    assert len(table) == 25_001
    assert str(table.schema.field("a").type).startswith(type_)


def test_encoding_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("я,b\n1,2\n".encode("koi8-r"))
    assert read_source(f"{tmp_path}/a.csv#encoding=koi8-r").column_names == ["я", "b"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("shape", ["folder", "glob"])
def test_files_of_a_folder_are_one_table(tmp_path, kind, shape):
    folder = tmp_path / "parts"
    folder.mkdir()
    for place in (2, 0, 1):
        frame = pd.DataFrame({"a": [place, place + 0.5], "b": place})
        if kind == "csv":
            frame.to_csv(folder / f"part-{place}.csv", index=False)
        else:
            frame.to_parquet(folder / f"part-{place}.parquet", index=False)
    (folder / "_SUCCESS").touch()
    (folder / ".part.crc").touch()
    source = str(folder) if shape == "folder" else f"{folder}/part-*.{kind}"
    table = read_source(source)
    assert table["a"].to_pylist() == [0, 0.5, 1, 1.5, 2, 2.5]


def test_files_of_a_web_server(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert read_source(f"{url}/a.csv.gz").to_pydict() == EXPECTED
        with pytest.raises(PipelineError, match=r"/none.csv: cannot be read: 404"):
            read_source(f"{url}/none.csv")
        server.shutdown()


PARQUET = {
    "nullable": pd.array([1, None, 3], "Int64"),
    "boolean": pd.array([True, None, False], "boolean"),
    "dictionary": pa.array([1.5, 2.5, 1.5]).dictionary_encode(),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("-3.05")]),
    "wide_decimal": pa.array([Decimal("0.1"), Decimal("0.2"), None], pa.decimal128(38, 20)),
    "int8": pa.array([1, 2, -3], pa.int8()),
    "uint64": pa.array([1, 2, 3], pa.uint64()),
    "float": pa.array([0.1, np.nan, 3], pa.float32()),
    "half": pa.array(np.array([0.5, 2, 3], np.float16)),
}


@pytest.mark.parametrize("name", PARQUET)
def test_types_of_parquet(table, tmp_path, name):
    three = pa.array(PARQUET[name]) if not isinstance(PARQUET[name], pa.Array) else PARQUET[name]
    values = pa.concat_arrays([three] * 134).slice(0, 400)
    whole = pa.Table.from_pandas(table, preserve_index=False).set_column(1, "V1", values)
    pa.parquet.write_table(whole, tmp_path / "a.parquet")
    splits = load(str(tmp_path / "a.parquet"), tmp_path)
    plain = values.dictionary_decode() if name == "dictionary" else values
    expected = [np.nan if value is None else float(value) for value in plain.to_pylist()]
    np.testing.assert_array_equal(splits.all_rows()["V1"].astype(float), expected)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", None])
@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_timestamps_of_parquet(table, tmp_path, zone, unit):
    moments = pd.date_range("2026-03-28", periods=400, freq="h", tz="UTC").tz_convert(zone)
    table["Time"] = pd.Series(moments).astype(f"datetime64[{unit}{f', {zone}' if zone else ''}]")
    table.iloc[::-1].to_parquet(tmp_path / "a.parquet", index=False)
    splits = load(str(tmp_path / "a.parquet"), tmp_path)
    np.testing.assert_array_equal(splits.all_rows()["V1"], table["V1"])


def test_texts_0_and_1_are_a_target(table, tmp_path):
    table["Class"] = table["Class"].astype(str)
    table.to_parquet(tmp_path / "a.parquet", index=False)
    assert load(str(tmp_path / "a.parquet"), tmp_path).description.positives["test"] == 8


def write(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


REFUSED = {
    "three.zip": (write(zipped("a", "b", "c")), "a zip archive with 3 members"),
    "none.zip": (write(zipped()), "a zip archive with 0 members"),
    "book.xlsx": (write(zipped("[Content_Types].xml", "b")), "an Excel workbook"),
    "cut.csv.gz": (write(gzip.compress(TEXT.encode())[:-12]), "compressed file is corrupt"),
    "cut.csv.xz": (write(lzma.compress(TEXT.encode())[:-12]), "compressed file is corrupt"),
    "cut.csv.bz2": (write(bz2.compress(TEXT.encode())[:-4]), "compressed file is corrupt"),
    "cut.zip": (write(zipped("a")[:-30]), "compressed file is corrupt"),
    "twice.csv": (write(b"a,b,a\n1,2,3\n"), "column a: duplicate column name"),
    "unnamed.csv": (write(b"a,,b\n1,2,3\n"), "column 2 has no name; add one"),
    "no_header.csv": (write(b"1,2,3\n4,5,6\n"), "line 1: 1, 2, 3: the names of the columns are"),
    "short.csv": (write(b"a,b\n1,2\n3\n"), "line 3: 1 values for 2 columns"),
    "long.csv": (write(b"a,b\n1,2\n3,4,5\n"), "line 3: 3 values for 2 columns"),
    "open_quote.csv": (write(b'a,b\n1,2\n3,"4\n5,6\n'), "line 3: a quote is not closed"),
    "empty.csv": (write(b""), "the file is empty"),
    "blank.csv": (write(b" \n\n"), "the file is empty"),
    "picture.png": (write(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "neither CSV nor Parquet"),
    "cut.parquet": (write(b"PAR1 and no more"), "the Parquet file is corrupt"),
    "folder": (Path.mkdir, "contains no files"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_files_are_one_line(tmp_path, name):
    make, cause = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(PipelineError) as caught:
        read_source(str(tmp_path / name))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / name}")
    assert cause in message
    assert "\n" not in message


def test_values_are_refused_with_row_and_column(table, tmp_path):
    columns = ["Time", "V1", "V2", "Class"]
    for values, cause in (
        (
            [2**60 if i == 5 else i // 2 for i in range(400)],
            "row 6: 1152921504606846976 is beyond 2^53",
        ),
        (["inf" if i == 5 else i for i in range(400)], "infinite values (row 6)"),
    ):
        table.assign(V1=values)[columns].to_csv(tmp_path / "a.csv", index=False)
        with pytest.raises(PipelineError) as caught:
            load(str(tmp_path / "a.csv"), tmp_path)
        assert f"{tmp_path}/a.csv: column V1: " in str(caught.value)
        assert cause in str(caught.value)


def test_files_with_different_columns_are_refused(tmp_path):
    for kind in ("csv", "parquet"):
        folder = tmp_path / kind
        folder.mkdir()
        for place, name in enumerate(("b", "c")):
            frame = pd.DataFrame({"a": [1.5], name: [2]})
            file = folder / f"{place}.{kind}"
            frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file)
        with pytest.raises(PipelineError, match=f"1.{kind}: the columns differ from those of"):
            read_source(str(folder))


def test_columns_that_differ_in_case_are_kept_apart(tmp_path):
    frame = pd.DataFrame({"v": [1.5], "V": [2.5]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    for kind in ("csv", "parquet"):
        assert read_source(f"{tmp_path}/a.{kind}").to_pydict() == {"v": [1.5], "V": [2.5]}
