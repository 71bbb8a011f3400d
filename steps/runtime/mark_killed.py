"""The status KILLED for interrupted runs, set after MLflow's launcher has set FAILED.

`mlflow run` marks every run whose process exits with an error as FAILED, even if the run marked
itself as KILLED (MLflow 3.17 compares the status's number with its name). It does so once that
process has ended, so another process waits for it.
"""

import sys
import time

from mlflow import MlflowClient

TIMEOUT_SECONDS = 15


def _mark_killed(run_id: str) -> None:
    client = MlflowClient()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if client.get_run(run_id).info.status == "FAILED":
            client.set_terminated(run_id, "KILLED")
            return
        time.sleep(0.5)


if __name__ == "__main__":
    _mark_killed(sys.argv[1])
