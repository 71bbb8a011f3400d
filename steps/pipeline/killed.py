"""Mark a run as killed once MLflow's launcher has marked it as failed.

`mlflow run` marks every run whose process ends with an error as failed, even if it marked itself
as killed (MLflow 3.17 asks for the number of a status by its name). The launcher does so after
that process has ended: this one stays a few seconds longer.
"""

import subprocess
import sys
import time

from mlflow import MlflowClient

SECONDS = 15


def mark_killed_later(run_id: str) -> None:
    """Start a process that does it; signals to the terminal's group do not reach it."""
    subprocess.Popen(
        [sys.executable, "-m", "steps.pipeline.killed", run_id],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _mark_killed(run_id: str) -> None:
    client = MlflowClient()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if client.get_run(run_id).info.status == "FAILED":
            client.set_terminated(run_id, "KILLED")
            return
        time.sleep(0.5)


if __name__ == "__main__":
    _mark_killed(sys.argv[1])
