"""A fresh clone on a machine with Python 3.11 and nothing else."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.support.log_fixtures import logged_rows
from tests.support.project import PROJECT
from tests.support.servers import responds
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

# A system's tools without these.
HIDDEN_TOOLS = ("java", "python", "uv", "conda", "pip")
# What the real machine's package installer needs to reach its index; nothing of ours.
KEPT_VARIABLES = ("PIP_", "SSL_", "REQUESTS_", "CURL_", "UV_", "HTTP", "LANG")


@pytest.fixture(scope="module", params=["uv", "pip"])
def clone(request, tmp_path_factory):
    """A fresh clone, and a shell without Java, data or cache, with or without uv."""
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder / "ml-pipes")], check=True)
    tools = folder / "bin"
    tools.mkdir()
    for tool in Path("/usr/bin").iterdir():
        if not tool.name.startswith(HIDDEN_TOOLS):
            (tools / tool.name).symlink_to(tool)
    (tools / "python3.11").symlink_to(Path(sys.executable).resolve())
    if request.param == "uv":
        (tools / "uv").symlink_to(str(shutil.which("uv")))
    environment = {k: v for k, v in os.environ.items() if k.startswith(KEPT_VARIABLES)}
    environment |= {"PATH": str(tools), "HOME": str(folder)}
    return folder / "ml-pipes", environment


def make(clone, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder, environment = clone
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_make_run_and_make_serve(clone):
    folder, environment = clone
    done = make(clone, "run", "ARGS=-P data=sample -P profile=quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "credit-card-fraud version 1 is the new champion" in done.stderr
    for target, url in (("serve", "http://127.0.0.1:5001/ping"), ("ui", "http://127.0.0.1:5000")):
        process = subprocess.Popen(
            ["make", target], cwd=folder, env=environment, start_new_session=True
        )
        try:
            wait_until(lambda url=url: responds(url))
            if target == "serve":
                answer = requests.post(
                    "http://127.0.0.1:5001/invocations",
                    data=(folder / "docs" / "two-rows-mlflow.json").read_bytes(),
                    headers={"Content-Type": "application/json"},
                    timeout=60,
                )
                assert [p["label"] for p in answer.json()["predictions"]] == [1, 0]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert [row["entity_id"] for row in logged_rows(folder / "predictions.db")] == [
        "116139",
        "256736",
    ]


def test_make_test_quick(clone):
    done = make(clone, "test", "ARGS=-m quick")
    assert done.returncode == 0, done.stdout + done.stderr
