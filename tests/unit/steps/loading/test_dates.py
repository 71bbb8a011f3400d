"""Dates in text, which training and serving read alike."""

from datetime import timedelta

import pytest

from serving.model.features import Feature
from serving.model.values import EPOCH, InvalidValueError
from steps.loading.dates import date_format, iso_time
from steps.loading.session import session
from steps.loading.table import Table, quoted
from tests.support.tables import load

pytestmark = pytest.mark.quick

DATES = (
    "2024-01-31", "2024-01-31 10:00", "2024-01-31T10:00:05", "2024-01-31T10:00:05.25",
    "2024-01-31 10:00:05.9999999", "2024-01-31T10:00Z", "2024-01-31 10:00 UTC",
    "2024-01-31 10:00:00UTC", "2024-01-31 10:00:00 +01:00", "2024-01-31T10:00+0130",
    "2024-01-31 10:00-01", "2024-01-31T24:00", "2024-12-31 24:00:00.0 +01:00", "0001-01-01",
    "31.1.2024", "31.01.2024 10:00", "31/01/2024 10:00:05", "1/31/2024 3:05 PM",
    "01/31/2024 12:05:06 am", "31-01-2024", "1-31-2024 9:00", "2024/1/31",
)  # fmt: skip
NO_DATES = (
    "2024-02-30", "2024-1-31", "2024-01-31T", "2024-01-31T10", "2024-01-31 1:00", "20240131",
    "2024-W05-3", "2024-01-31 10:00:60", "2024-01-31 25:00", "2024-01-31T24:01",
    "2024-01-31T10:00z", "2024-01-31 10:00 Europe/Berlin", "2024-01-31 10:00+24:00",
    "2024-01-31  10:00", "2024-01-31 UTC", "2024-01-31 10:00:05,25", "infinity", "31.1.24",
    "32.1.2024", "1/31/2024 13:05 PM", "1/31/2024 3:05PM", "31.01.2024 24:00", "२०२४-01-31",
)  # fmt: skip


def format_and_value(text):
    """Return what training makes of a text."""
    with session() as opened:
        table = Table.create(opened, "table", ["x"], f"SELECT {quoted(text)} AS c0")
        found = date_format(table, "c0")
        if found is None:
            return None
        assert not isinstance(found, str)
        (value,) = table.row(f"SELECT {found.value} FROM loaded")
        return found.strptime, value


@pytest.mark.parametrize("text", DATES)
def test_dates_are_the_same_in_training_and_serving(text):
    format_, value = format_and_value(text)
    served = Feature("x", "date", format=format_).parse(text)
    assert EPOCH + timedelta(microseconds=served) == value


@pytest.mark.parametrize("text", NO_DATES)
def test_other_texts_are_dates_nowhere(text):
    assert format_and_value(text) is None
    with pytest.raises(InvalidValueError, match="must be a date"):
        Feature("x", "date").parse(text)


def test_a_zone_is_never_ignored():
    with session() as opened:
        query = f"SELECT {iso_time(quoted('2024-01-31 10:00+01:00'))}"
        assert opened.connection.sql(query).fetchall() == [(None,)]


def test_late_zone_in_csv_makes_times_of_all_zones(table, tmp_path, monkeypatch):
    monkeypatch.setattr("steps.loading.csv_reader.SAMPLE_ROWS", 10)
    table["x"] = ["2024-01-31 10:00", "2024-02-01 10:00"] * (len(table) // 2)
    table.loc[200, "x"] = "2024-01-31 10:00:00 +01:00"
    file = tmp_path / "a.csv"
    table.to_csv(file, index=False)
    dates = load(str(file), tmp_path).all_rows()["x"]
    assert dates[200].isoformat() == "2024-01-31T09:00:00"
    assert dates[0].isoformat() == "2024-01-31T10:00:00"
