"""The local H2O server: its ports, and its unexpected end."""

import signal
import socket
import time

import h2o
import psutil
import pytest

from steps.engines import h2o_server as server_module
from steps.engines.h2o_server import h2o_server
from steps.runtime.errors import EngineError
from steps.runtime.ports import free_port
from tests.support.processes import java_processes


def test_server_starts_although_its_port_was_taken_meanwhile(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = [other.getsockname()[1]]
        monkeypatch.setattr(
            server_module,
            "free_port",
            lambda **wanted: ports.pop() if ports else free_port(**wanted),
        )
        with h2o_server(""):
            assert h2o.cluster().cloud_healthy
    assert not ports


def test_ended_server_is_reported_at_once():
    """Signal handlers, which only the main thread could set, are no part of it."""
    handler = signal.getsignal(signal.SIGUSR1)
    ended = pytest.raises(EngineError, match="the H2O server ended unexpectedly")
    with ended, h2o_server(""):
        frame = h2o.H2OFrame({"x": [1, 2, 3]})
        for process in java_processes(psutil.Process()):
            process.kill()
        killed = time.monotonic()
        frame.refresh()
    assert time.monotonic() - killed < 10
    assert signal.getsignal(signal.SIGUSR1) is handler
    assert not h2o.connection().connected  # or the client would call the server at exit
