"""Steps on a full disk."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.support.workspaces import MLFLOW, Workspace, run_arguments, step_command

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
FULL = "the disk is full: free some space and run again; finished steps are reused"


@pytest.fixture(scope="module")
def own_workspace(tmp_path_factory):
    """A new workspace, whose store is created once."""
    return Workspace(tmp_path_factory.mktemp("full"))


@pytest.mark.parametrize("kilobytes", [1500, 5000])  # too few to read the table, or to split it
def test_loading_with_full_temporary_disk_leaves_nothing(own_workspace, kilobytes, tmp_path):
    script = f"""
        mount -t tmpfs -o size={kilobytes}k tmpfs {tmp_path}
        TMPDIR={tmp_path} {shlex.join(step_command("load_data", {"data": "sample"}))}
        echo $? $(ls -A {tmp_path})
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=own_workspace.folder,
        env=own_workspace.step_environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["1"], done.stderr
    ours = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert ours == [f"ml-pipes: load_data: {FULL}"]
    run, *_ = own_workspace.runs()
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", FULL)
    assert not own_workspace.client.list_artifacts(run.info.run_id)


def test_selection_on_full_disk_is_one_line(workspace, step_runs, tmp_path):
    """A small disk with a copy of the workspace takes its place, for these processes alone."""
    select = run_arguments(
        "select_champion",
        {
            "data_run_id": step_runs["load_data"].info.run_id,
            "training_run_ids": step_runs["train_pycaret"].info.run_id,
            "model_name": "too-large",
            "refit": "false",
        },
    )
    registered = "select count(*) from model_versions where name = 'too-large'"
    count = f"import sqlite3; print(*sqlite3.connect('mlflow.db').execute(\"{registered}\"))"
    script = f"""
        set -e
        size=$(du -sk --apparent-size {workspace.folder} | cut -f1)
        mount -t tmpfs -o size=$((size * 5 / 4 + 20000))k tmpfs {tmp_path}
        cp -a {workspace.folder}/. {tmp_path}
        free=$(df -k --output=avail {tmp_path} | tail -1)
        head -c $((free - 600))K /dev/zero > {tmp_path}/filler
        mount --bind {tmp_path} {workspace.folder}
        cd {workspace.folder}
        {shlex.join([MLFLOW, *select])} && exit 9
        {sys.executable} -c {shlex.quote(count)}
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        env=workspace.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"ml-pipes: select_champion: {FULL}" in done.stderr
    assert done.stdout.split() == ["(0,)"]
