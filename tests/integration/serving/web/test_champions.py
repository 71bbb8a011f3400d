"""Champions of the service: trials before a swap, and their temporary folders."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from serving.errors import NoChampionError
from serving.model.manifest import Manifest
from serving.web import champions
from serving.web.champion_folders import PREFIX, ChampionFolder, remove_abandoned
from serving.web.champions import ChampionWatch
from serving.web.loading import ResolvedModel, load, resolve
from steps.export.onnx_graphs import linear_graph, write_onnx
from tests.support.tiny_model import ROW
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def null_threshold(scorer):
    content = json.loads((scorer / "manifest.json").read_text())
    (scorer / "manifest.json").write_text(json.dumps(content | {"threshold": None}))


def missing_values_unfilled(scorer):
    write_onnx(linear_graph(np.array([2.0, -1.0]), 0.0), scorer, 2)


def other_number_of_features(scorer):
    write_onnx(linear_graph(np.array([2.0, -1.0, 1.0]), 0.0), scorer, 3)


def infinite_weight(scorer):
    """Pass validation, and give a score that is no number."""
    write_onnx(linear_graph(np.array([np.nan, 1.0]), 0.0), scorer, 2)


DAMAGES = [null_threshold, missing_values_unfilled, other_number_of_features, infinite_weight]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_challenger_leaves_champion(tiny_model, tmp_path, monkeypatch, temporary, damage):
    challenger = Path(shutil.copytree(tiny_model, tmp_path / "challenger"))
    damage(challenger / "artifacts" / "scorer")
    target = [str(tiny_model)]
    monkeypatch.setattr(champions, "resolve", lambda _: resolve(target[0]))
    watch = ChampionWatch("models:/m@champion", poll_seconds=0.02, max_rows=1)
    watch.start(30)
    try:
        first = watch.current()
        target[0] = str(challenger)
        wait_until(lambda: watch.last_error)
        assert watch.current() is first
        assert "manifest.json" in watch.last_error or "cannot answer a row" in watch.last_error
        wait_until(lambda: len(list(temporary.glob(f"{PREFIX}*"))) == 1)
    finally:
        watch.stop()


def test_log_row_is_tried_before_swap(tiny_model, monkeypatch):
    def with_object(*arguments):
        rows = predict_rows(*arguments)
        rows[0].threshold = None
        return rows

    from serving.web import loading

    predict_rows = loading.predict_rows
    monkeypatch.setattr(loading, "predict_rows", with_object)
    with pytest.raises(Exception, match=r"cannot answer a row.*log cannot be written"):
        load(resolve(str(tiny_model)), 10)


def test_stopped_watch_has_no_champion(tiny_model, monkeypatch):
    """A load that ends after the stop must not bring a champion back."""
    may_end = threading.Event()

    def slow_load(source: ResolvedModel, max_rows: int):
        may_end.wait(30)
        return load(source, max_rows)

    monkeypatch.setattr(champions, "load", slow_load)
    watch = ChampionWatch(str(tiny_model), 0.02, 10)
    watch.start(0)
    watch.stop()
    may_end.set()
    watch._thread.join(30)
    with pytest.raises(NoChampionError):
        watch.current()


def test_champion_may_be_stopped_between_reads(tiny_model):
    """`current` returns a champion or raises, whatever another thread does meanwhile."""

    class Vanishing(ChampionWatch):
        reads = 0

        def __getattribute__(self, name):
            if name == "_champion":
                Vanishing.reads += 1
                return loaded if Vanishing.reads == 1 else None
            return super().__getattribute__(name)

    loaded = load(resolve(str(tiny_model)), 10)
    watch = Vanishing(str(tiny_model), 1, 10)
    assert watch.current() is loaded
    Vanishing.reads = 0
    assert watch.version is None


def test_folders_of_killed_processes_are_removed(temporary):
    kept = ChampionFolder()
    killed = (
        "import os, signal, tempfile\n"
        "from serving.web.champion_folders import ChampionFolder\n"
        f"tempfile.tempdir = {str(temporary)!r}\n"
        "folder = ChampionFolder()\n"
        "(folder.path / 'model').mkdir()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    (temporary / f"{PREFIX}of-an-older-release").mkdir()
    assert len(list(temporary.iterdir())) == 3
    remove_abandoned()
    left = {folder.name for folder in temporary.iterdir()}
    assert left == {kept.path.name, f"{PREFIX}of-an-older-release"}
    kept.remove()
    assert not kept.path.exists()


def test_folder_lives_as_long_as_its_champion(tiny_model, temporary):
    champion = load(resolve(str(tiny_model)), 10)
    remove_abandoned()
    assert len(list(temporary.iterdir())) == 1
    assert champion.columns.parse(ROW)
    del champion
    assert not list(temporary.iterdir())


def test_manifest_is_valid_as_written(tiny_model):
    assert Manifest.read(tiny_model / "artifacts" / "scorer").threshold == 0.5
