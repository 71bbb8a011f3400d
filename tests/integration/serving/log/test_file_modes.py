"""Modes of the files and folders of the prediction log."""

import os

import pytest

from serving.log.spool import spool_file
from steps.prediction_log.export import export
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def usual_umask():
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """The folder of the spools, in a folder that does not exist either."""
    folder = tmp_path / "state" / "spool"
    monkeypatch.setenv("MLPIPES_SPOOL", str(folder))
    return folder


def mode(path):
    return path.stat().st_mode & 0o777


def test_log_and_spool_are_private(sqlite_uri, spool, tmp_path):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(2), MODEL, "test")
        files = [*tmp_path.glob("log.db*"), *spool.glob("*.db*")]
        assert {file.name for file in files} >= {"log.db", "log.db-wal", "log.db-shm"}
        assert len(files) >= 4
        assert {mode(file) for file in files} == {0o600}
    assert mode(spool) == mode(spool.parent) == 0o700


def test_existing_modes_are_mentioned(sqlite_uri, spool, tmp_path, caplog):
    spool.mkdir(parents=True)
    (tmp_path / "log.db").touch()
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(2), MODEL, "test")
    assert (mode(spool), mode(tmp_path / "log.db")) == (0o755, 0o644)
    assert f"{spool} is open to other users of this machine (mode 755): chmod 700" in caplog.text
    assert "log.db is open to other users of this machine (mode 644): chmod 600" in caplog.text
    caplog.clear()
    spool.chmod(0o700)
    (tmp_path / "log.db").chmod(0o600)
    with open_prediction_log(sqlite_uri):
        assert "open to other users" not in caplog.text


@pytest.mark.parametrize(("of_folder", "of_export"), [(0o755, 0o600), (0o1777, 0o644)])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_exports_are_private(sqlite_uri, spool, tmp_path, suffix, of_folder, of_export):
    with open_prediction_log(sqlite_uri) as log:
        log.record(prediction_rows(2), MODEL, "test")
    folder = tmp_path / "exchange"
    folder.mkdir()
    folder.chmod(of_folder)
    export(sqlite_uri, folder / f"out{suffix}", None, None)
    assert mode(folder / f"out{suffix}") == of_export
    assert mode(folder) == of_folder & 0o777


def test_spool_of_removed_folder_is_private(sqlite_uri, spool, tmp_path):
    """The spool is created again, as it was."""
    with open_prediction_log(sqlite_uri) as log:
        spool.rename(tmp_path / "removed")  # at once: a thread may create it again
        log._spool.open()
        assert mode(spool) == 0o700
        assert mode(spool_file(log._engine.url)) == 0o600
