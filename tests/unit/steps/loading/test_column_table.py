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
    lines = format_columns([COLUMN] * 45 + [COLUMN | {"kind": "constant"}]).splitlines()
    assert len(lines) == 42
    assert "constant" in lines[-2]
    assert lines[-1] == "... and 6 more: see columns.csv"


def test_csv_has_every_column():
    assert len(columns_as_csv([COLUMN] * 45).splitlines()) == 46


def test_missing_ids_are_counted(table, tmp_path):
    table["id"] = [None, *(f"customer {row}" for row in range(1, len(table)))]
    columns = load_frame(table, tmp_path).description.columns
    missing = {column["name"]: column["missing"] for column in columns}
    assert missing["id"] == 1 / len(table)
    assert missing["Class"] == 0
