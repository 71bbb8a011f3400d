"""The service of the demo."""

import socket
import sys
from contextlib import ExitStack

import pytest

from steps.demo_scenario import service
from steps.runtime.errors import EngineError
from steps.runtime.ports import free_port
from tests.support.project import PROJECT

READY = """
from fastapi import FastAPI
app = FastAPI()
app.get("/health/ready")(lambda: "ready")
"""
COMMAND = [sys.executable, "-m", "uvicorn", "ready:app", "--host", "127.0.0.1"]


def test_service_starts_although_its_port_was_taken_meanwhile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ready.py").write_text(READY)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = [other.getsockname()[1]]
        monkeypatch.setattr(service, "free_port", lambda: taken.pop() if taken else free_port())
        with ExitStack() as stack:
            environment = {"PYTHONPATH": f"{tmp_path}:{PROJECT}"}
            url = service._start(stack, COMMAND, tmp_path / "log", environment)
            assert service._is_ready(url)
    assert not taken


def test_service_that_ends_is_reported_without_further_attempts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {"PYTHONPATH": str(PROJECT)}
    failed = pytest.raises(EngineError, match="the service did not start")
    with ExitStack() as stack, failed:
        service._start(stack, COMMAND, tmp_path / "log", environment)
