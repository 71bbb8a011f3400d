"""Load on one HTTP route, as heavy as a process can make it: keep-alive, one request in flight
a connection.

    python -m benchmarks.load URL BODY_FILE --connections 32 --seconds 10

Prints a JSON object: requests, seconds, failures, and latencies in ms.
"""

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop

WARM_UP = 1.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Sends the request again and again, and notes how long each answer took."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._missing: int | None = None
        self.latencies: list[float] = []
        self.failures = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Note the end."""
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Send the next request once the answer is complete."""
        if self._missing is None:
            self._received += data
            head, end, body = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            length = LENGTH.search(head)
            assert length is not None, head
            self._missing = int(length.group(1)) - len(body)
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self.latencies.append(time.perf_counter() - self._sent)
            self.failures += not self._received.startswith(b"HTTP/1.1 200")
            self._send()

    def reset(self) -> None:
        """Forget what was measured so far."""
        self.latencies, self.failures = [], 0

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def _send(self) -> None:
        self._received, self._missing = b"", None
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def measure(url: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Load `url` for `seconds` after a short time to warm up."""
    parts = urlsplit(url)
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    opened = [
        (
            await loop.create_connection(
                lambda: Connection(head.encode() + body), parts.hostname, parts.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(WARM_UP)
    for connection in opened:
        connection.reset()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    latencies = np.concatenate([connection.latencies for connection in opened]) * 1e3
    failures = sum(connection.failures for connection in opened)
    failures += sum(connection.lost.done() for connection in opened)
    for connection in opened:
        connection.close()
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "requests": len(latencies), "seconds": took, "failures": failures,
        "p50": p50, "p95": p95, "p99": p99,
    }  # fmt: skip


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    wanted = parser.parse_args()
    measured = uvloop.run(
        measure(wanted.url, wanted.body.read_bytes(), wanted.connections, wanted.seconds)
    )
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
