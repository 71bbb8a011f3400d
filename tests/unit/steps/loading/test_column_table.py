"""The table of columns that load_data prints."""

import pytest

from steps.loading.column_table import columns_as_csv, format_columns
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick

COLUMN = {"name": "age", "kind": "number", "missing": 0.0, "levels": None, "becomes": "number"}


def test_table_is_aligned_and_narrow():
    long = COLUMN | {"name": "größe " * 20, "missing": 0.123, "becomes": "left out: " + "x" * 99}
    lines = format_columns([COLUMN, long, COLUMN | {"levels": 1234}]).splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "levels", "what", "happens"]
    assert max(map(len, lines)) <= 100
    assert "12.3%" in lines[2]
    assert "1,234" in lines[3]


def test_wide_tables_are_cut():
    columns = [COLUMN | {"missing": place / 100} for place in range(45)]
    lines = format_columns([*columns, COLUMN | {"kind": "constant"}]).splitlines()
    assert len(lines) == 42
    assert "constant" in lines[-2]
    assert lines[-1] == "... and 6 more: see columns.csv"


def test_equal_columns_share_a_row():
    numbers = [COLUMN | {"name": f"V{place}"} for place in range(1, 29)]
    time, amount = COLUMN | {"name": "Time", "kind": "time"}, COLUMN | {"name": "Amount"}
    other = COLUMN | {"name": "V29", "missing": 0.5}
    lines = format_columns([time, *numbers, amount, other]).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "column",
        "Time",
        "V1 … V28 (28 columns)",
        "Amount",
        "V29",
    ]
    assert len(columns_as_csv(numbers).splitlines()) == 29


def test_long_names_of_equal_columns_are_cut():
    columns = [COLUMN | {"name": f"{place} {'long ' * 20}"} for place in range(12_000)]
    _, line = format_columns(columns).splitlines()
    assert line.startswith("0 lon… … 11999… (12,000 columns)"), line
    assert len(line) <= 100


def test_csv_has_every_column():
    assert len(columns_as_csv([COLUMN] * 45).splitlines()) == 46


def test_missing_ids_are_counted(table, tmp_path):
    table["id"] = [None, *(f"customer {row}" for row in range(1, len(table)))]
    columns = load_frame(table, tmp_path).description.columns
    missing = {column["name"]: column["missing"] for column in columns}
    assert missing["id"] == 1 / len(table)
    assert missing["Class"] == 0
