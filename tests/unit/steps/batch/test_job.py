"""Batch jobs: resumed, finished and kept apart."""

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pandas as pd
import pyarrow as pa
import pytest

from serving.batch.output import PartWriter
from serving.model.prediction import ModelIdentity
from steps.batch.job import JOB_FILE, ScoringJob, discard, exclusive_output, finish
from steps.runtime.errors import BusyError, ParameterError
from steps.runtime.parameter_types import new_path
from steps.score_batch import score_batch


def batch_job(size: int = 10, version: str = "1", run_id: str = "one") -> ScoringJob:
    table = SimpleNamespace(columns=["V1"])
    source = SimpleNamespace(files=[f"file:/in.parquet {size} 0"], table=table, parts=2)
    return ScoringJob.of(source, ModelIdentity("fraud", version, run_id))


@pytest.mark.quick
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(batch_job(size=11), id="another input"),
        pytest.param(batch_job(version="2", run_id="two"), id="another champion"),
        pytest.param(batch_job(run_id="two"), id="deleted, trained again, version 1 again"),
    ],
)
def test_unfinished_work_of_other_job_is_refused(tmp_path, other):
    unfinished = tmp_path / "out.unfinished"
    batch_job().open_folder(unfinished)
    with pytest.raises(ParameterError) as refused:
        other.open_folder(unfinished)
    assert str(refused.value) == (
        f"output: {unfinished} holds the unfinished output of another input or champion; "
        "remove it or choose another name"
    )
    assert other.key != batch_job().key, "the log keeps the rows of both"
    batch_job().open_folder(unfinished)


@pytest.mark.parametrize(("of_parent", "private"), [(0o755, True), (0o1777, False)])
@pytest.mark.quick
def test_output_is_private_unless_in_open_folder(tmp_path, of_parent, private):
    before = os.umask(0o022)
    try:
        parent = tmp_path / "exchange"
        parent.mkdir()
        parent.chmod(of_parent)
        batch_job().open_folder(parent / "out.unfinished")
        part = parent / "out.unfinished" / "part-00000.parquet"
        with PartWriter(part) as writer:
            writer.write(pa.RecordBatch.from_pydict({"id": ["=1+1"]}))
        finish(parent / "out.unfinished", parent / "out")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (parent / "out", parent / "out" / part.name)]
    assert modes == ([0o700, 0o600] if private else [0o755, 0o644])
    assert pd.read_parquet(parent / "out")["id"].tolist() == ["=1+1"], "Parquet is not changed"


class KilledError(BaseException):
    pass


def kill_before_change(monkeypatch, moment: int) -> None:
    """End the process, as it were, before the `moment`-th change of a file or folder."""
    changes = count()

    def deadly(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Path, *arguments: Any, **options: Any) -> Any:
            if next(changes) == moment:
                if change.__name__ == "write_text":
                    path.touch()
                raise KilledError
            return change(path, *arguments, **options)

        return changed

    for name in ("mkdir", "write_text", "rename", "unlink"):
        monkeypatch.setattr(Path, name, deadly(getattr(Path, name)))


def do_job(output: Path) -> bool:
    """Do the job of two rows in one part; tell whether it had to be scored."""
    unfinished = output.with_name("out.unfinished")
    batch_job().open_folder(unfinished)
    part = unfinished / "part-00000.parquet"
    (unfinished / f".{part.name}.of-a-worker-that-was-killed").touch()
    if there := part.exists():
        assert pd.read_parquet(part)["row"].tolist() == [0, 1]
    else:
        pd.DataFrame({"row": [0, 1]}).to_parquet(part)
    finish(unfinished, output)
    return not there


def is_complete(output: Path) -> bool:
    return pd.read_parquet(output)["row"].tolist() == [0, 1]


@pytest.mark.quick
def test_killed_job_is_completed_by_same_command(tmp_path, monkeypatch):
    for moment in count():
        folder = tmp_path / str(moment)
        folder.mkdir()
        output = folder / "out"
        with monkeypatch.context() as patch:
            kill_before_change(patch, moment)
            try:
                do_job(output)
                break  # no change was left to be killed before
            except KilledError:
                scored = (folder / "out.unfinished" / "part-00000.parquet").exists()
        if output.exists():
            with pytest.raises(click.BadParameter, match="exists already"):
                new_path(str(output))
        else:
            assert do_job(output) is not scored
        assert is_complete(output)
        assert list(folder.iterdir()) == [output]
    assert moment == 6, "each change was tried"


@pytest.mark.quick
def test_half_discarded_work_is_replaced(tmp_path, monkeypatch):
    def killed(folder: Path) -> None:
        (folder / JOB_FILE).unlink()
        raise KilledError

    unfinished = tmp_path / "out.unfinished"
    batch_job(size=11).open_folder(unfinished)
    (unfinished / "part-00001.parquet").touch()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            discard(unfinished)
    assert do_job(tmp_path / "out")
    assert is_complete(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.quick
def test_output_is_made_once_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    output = folder / "out"
    with exclusive_output(output):
        with exclusive_output(folder / "another"):
            pass
        for name in (output, folder / "." / ".." / "folder" / "out", tmp_path / "link" / "out"):
            with pytest.raises(BusyError) as refused:
                score_batch.__wrapped__("in.csv", name, "fraud", False, "", "local[2]")
            assert str(refused.value) == (
                f"output: another process is writing {name}; wait or choose another name"
            )
        assert not list(folder.iterdir())
        output.mkdir()
    with pytest.raises(ParameterError, match="was just created by another process"):
        score_batch.__wrapped__("in.csv", output, "fraud", False, "", "local[2]")


@pytest.mark.quick
def test_taken_output_name_keeps_finished_work(tmp_path):
    output, unfinished = tmp_path / "out", tmp_path / "out.unfinished"
    output.write_text("of somebody else")
    with pytest.raises(ParameterError, match=f"{unfinished} is complete but cannot be renamed"):
        do_job(output)
    output.unlink()
    assert not do_job(output)
    assert is_complete(output)
