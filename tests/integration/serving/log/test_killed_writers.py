"""Writers of the prediction log that are killed or may not write: no answered row is lost."""

import random
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.support.log_fixtures import (
    MODEL,
    assert_nothing_lost,
    open_prediction_log,
    prediction_rows,
)
from tests.support.project import PROJECT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("spool")


@contextmanager
def writer_processes(n, uri, answered, *options):
    """Run `n` processes that predict without end."""
    command = [sys.executable, "-m", "tests.support.log_writer", uri, str(answered), *options]
    started = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(n)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def answered_ids(answered):
    """The ids that were answered; a line cut off by the kill is none."""
    text = answered.read_text() if answered.exists() else ""
    return text[: text.rfind("\n") + 1].split()


@pytest.mark.parametrize(("kind", "kills"), [("sqlite", 5), ("postgres", 2)])
def test_killed_writers_lose_no_row(request, tmp_path, kind, kills):
    uri, answered = request.getfixturevalue(f"{kind}_uri"), tmp_path / "answered"
    for _ in range(kills):
        before = len(answered_ids(answered))
        with writer_processes(2, uri, answered) as started:
            wait_until(lambda n=before: len(answered_ids(answered)) > n)
            for process in started:
                time.sleep(random.uniform(0, 0.4))
                process.kill()
    with open_prediction_log(uri) as log:
        log.record(prediction_rows(1), MODEL, "test")
    assert_nothing_lost(uri, answered_ids(answered))


def test_file_size_limit_loses_no_row(sqlite_uri, tmp_path):
    answered = tmp_path / "answered"
    with writer_processes(1, sqlite_uri, answered, "400000") as (process,):
        reasons, _ = process.communicate(timeout=60)
    assert len(reasons.splitlines()) == 8
    with open_prediction_log(sqlite_uri) as log:
        wait_until(lambda: not log.status().spooled)
    assert_nothing_lost(sqlite_uri, answered_ids(answered))
