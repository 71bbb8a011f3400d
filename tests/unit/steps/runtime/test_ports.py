"""Free ports."""

import socket

import pytest

from steps.runtime import ports
from steps.runtime.ports import free_port

pytestmark = pytest.mark.quick


def test_free_port_can_be_bound():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_port_with_taken_successor_is_skipped(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        before = taken.getsockname()[1] - 1
        bind, wanted = ports._bind, [before]
        monkeypatch.setattr(
            ports, "_bind", lambda probes, port: bind(probes, port or (wanted or [0]).pop())
        )
        assert free_port(successors=1) != before
