"""Free TCP ports of the loopback address.

Another process may take a port between its choice and its use, so whoever starts a server on one
tries again: `START_ATTEMPTS` times.
"""

import socket
from contextlib import ExitStack

START_ATTEMPTS = 5


def free_port(successors: int = 0) -> int:
    """Return a port that is free now, and so are as many `successors` of it."""
    while True:
        with ExitStack() as probes:
            port = _bind(probes, 0)
            try:
                for successor in range(port + 1, port + 1 + successors):
                    _bind(probes, successor)
            except (OSError, OverflowError):
                continue
            return port


def _bind(probes: ExitStack, port: int) -> int:
    probe = probes.enter_context(socket.socket())
    probe.bind(("127.0.0.1", port))
    return int(probe.getsockname()[1])
