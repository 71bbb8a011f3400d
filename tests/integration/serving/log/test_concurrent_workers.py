"""Retries of the same requests on two workers at once."""

import subprocess
import sys

import pytest

from tests.support.log_fixtures import stored_rows
from tests.support.project import PROJECT

pytestmark = pytest.mark.usefixtures("spool")

RETRY = """
import asyncio, sys
from dataclasses import replace
from serving.log.prediction_log import PredictionLog
from tests.support.log_fixtures import MODEL, prediction_rows
log = PredictionLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
async def ask(key):
    mine = [replace(row, score=float(sys.argv[2])) for row in prediction_rows(3, key)]
    return key, [row.score for row in await log.record_async(mine, MODEL, "test", key)]
async def ask_all():  # in groups, and in opposite orders
    keys = [f"r{i}" for i in range(200)][:: int(sys.argv[3])]
    return sorted(await asyncio.gather(*map(ask, keys)))
print(*asyncio.run(ask_all()), sep="\\n")
log.close()
"""


def test_concurrent_retries_get_same_answer(uri):
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RETRY, uri, *options],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for options in (("0.25", "1"), ("0.75", "-1"))
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=60)[0].splitlines() for worker in workers]
    assert answers[0] == answers[1]
    assert len(answers[0]) == 200
    assert len(stored_rows(uri)) == 600
