"""Bodies that are heavy or never complete, beside other requests."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn

from serving.app import create_app
from serving.settings import ServiceSettings
from serving.web import metrics, security
from tests.support.tiny_model import JSON_HEADERS, ROW
from tests.support.waiting import wait_until

pytestmark = pytest.mark.quick


@pytest.fixture
def connect(tiny_model, database) -> Iterator[Callable[[], socket.socket]]:
    """A function that connects to the service on uvicorn, in a thread of this process."""
    app = create_app(ServiceSettings(model_uri=str(tiny_model)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, 30)
    address = server.servers[0].sockets[0].getsockname()
    try:
        yield lambda: socket.create_connection(address, timeout=10)
    finally:
        server.should_exit = True
        thread.join()


def request(*headers: str) -> bytes:
    lines = ("POST /predict HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def answer(connection: socket.socket) -> bytes:
    """Return all that the server sends until it closes the connection."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_stalled_body_is_answered_in_time(connect, monkeypatch):
    monkeypatch.setattr(security, "BODY_TIMEOUT", 0.3)
    with connect() as connection:
        connection.sendall(request("Content-Length: 100") + b"{")
        assert answer(connection).startswith(b"HTTP/1.1 408 ")


def test_endless_body_is_answered_in_time(connect, monkeypatch):
    """It goes on, and never stalls for long."""
    monkeypatch.setattr(security, "BODY_TIMEOUT", 0.3)
    with connect() as connection:
        connection.sendall(request("Transfer-Encoding: chunked"))
        connection.settimeout(0.05)
        start = time.monotonic()
        while time.monotonic() - start < 5:
            connection.sendall(b"1\r\n \r\n")
            try:
                assert connection.recv(65_536).startswith(b"HTTP/1.1 408 ")
                return
            except TimeoutError:
                pass
    raise AssertionError("never answered")


def test_body_in_pieces_is_read(connect):
    body = json.dumps(ROW).encode()
    with connect() as connection:
        connection.sendall(request(f"Content-Length: {len(body)}", "Connection: close"))
        for piece in (body[:5], body[5:9], body[9:]):
            time.sleep(0.05)
            connection.sendall(piece)
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_metrics_are_rendered_in_a_thread(client, monkeypatch):
    threads = []
    render = metrics.exposition

    def noted(*state):
        threads.append(threading.current_thread().name)
        return render(*state)

    monkeypatch.setattr(metrics, "exposition", noted)
    assert client.get("/metrics").status_code == 200
    assert "worker thread" in threads[0].lower()


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_many_rows_are_counted_in_a_thread(client, monkeypatch, path):
    """Each observation of a histogram would delay other requests."""
    threads = []
    count = metrics.count_rows

    def noted(*rows, **options):
        threads.append(threading.current_thread().name)
        count(*rows, **options)

    monkeypatch.setattr(metrics, "count_rows", noted)
    columns = {"V1": [0] * 1_000, "gap": [0] * 1_000}
    body = columns if path == "/predict" else {"inputs": columns}
    assert client.post(path, json=body, headers=JSON_HEADERS).status_code == 200
    assert "worker thread" in threads[0].lower()
