"""The prediction service as a child process of the demo."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import mlflow
import requests

from steps.demo_scenario.data import MODEL_NAME
from steps.runtime.errors import EngineError
from steps.runtime.ports import START_ATTEMPTS, free_port
from steps.runtime.processes import supervised_process

START_TIMEOUT_SECONDS = 60
PORT_TAKEN = "address already in use"  # part of the service's message


@contextmanager
def running_service(log_uri: str, folder: Path) -> Iterator[str]:
    """Run the service for the demo's champion and yield its URL.

    Args:
        log_uri: SQLAlchemy URL of the prediction log.
        folder: folder for the spool and the service's output.

    Raises:
        EngineError: the service did not start.
    """
    environment = os.environ | {
        "MLPIPES_MODEL_URI": f"models:/{MODEL_NAME}@champion",
        "MLPIPES_POLL_SECONDS": "1",
        "MLPIPES_SPOOL": str(folder / "spool"),
        "PREDICTION_LOG_URI": log_uri,
        "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(),
    }
    command = [sys.executable, "-m", "uvicorn", "serving.app:app", "--host", "127.0.0.1"]
    with ExitStack() as stack:
        yield _start(stack, command, folder / "service.log", environment)


def _start(stack: ExitStack, command: list[str], output: Path, environment: dict[str, str]) -> str:
    """Start a service that ends with `stack`, and return its URL.

    Raises:
        EngineError: The service did not start.
    """
    for _ in range(START_ATTEMPTS):
        port = free_port()
        service = supervised_process([*command, "--port", str(port)], output, environment)
        process = stack.enter_context(service)
        url = f"http://127.0.0.1:{port}"
        if _became_ready(process, url):
            return url
        if PORT_TAKEN not in output.read_text(errors="replace"):
            break
    raise EngineError(f"the service did not start; see {output}")


def _became_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _is_ready(url):
            return True
        time.sleep(0.2)
    return False


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
