"""Load generator for one HTTP route: keep-alive connections, one request in flight on each.

    python -m benchmarks.load_generator URL BODY_FILE --connections 32 --seconds 10

Prints a JSON object with requests, seconds, failures, and the latencies p50, p95, p99 in ms.
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

WARM_UP_SECONDS = 1.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A connection that repeats one request and records the latencies in seconds."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self._missing: int | None = None
        self.latencies: list[float] = []
        self.failures = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """Mark the connection as lost."""
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Send the next request when the response is complete."""
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
        """Discard all measurements."""
        self.latencies, self.failures = [], 0

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _send(self) -> None:
        self._received, self._missing = b"", None
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def measure(url: str, body: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Load `url` for `seconds` after a warm-up; return the values that `main` prints."""
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
    await asyncio.sleep(WARM_UP_SECONDS)
    for connection in opened:
        connection.reset()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    latencies = np.concatenate([connection.latencies for connection in opened]) * 1e3
    failures = sum(connection.failures for connection in opened)
    failures += sum(connection.lost.done() for connection in opened)
    for connection in opened:
        connection.close()
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99])
    return {
        "requests": len(latencies), "seconds": elapsed, "failures": failures,
        "p50": p50, "p95": p95, "p99": p99,
    }  # fmt: skip


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    measured = uvloop.run(
        measure(
            arguments.url,
            arguments.body.read_bytes(),
            arguments.connections,
            arguments.seconds,
        )
    )
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
