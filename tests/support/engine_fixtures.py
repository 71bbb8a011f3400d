"""Small splits for tests of a single engine."""

import pytest

from tests.support.tables import splits_of


@pytest.fixture
def small_splits(table, tmp_path, monkeypatch):
    """Small splits whose engine logs no table."""
    monkeypatch.setattr("mlflow.log_table", lambda *_: None)
    rows = table.drop(columns="Time")
    frames = rows[:300], rows[300:], rows[300:]
    return splits_of(list(frames), tmp_path)
