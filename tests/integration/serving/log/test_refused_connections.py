"""PostgreSQL servers that refuse connections, in another language than English."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from serving.errors import LogUnavailableError
from tests.support.log_fixtures import open_prediction_log

pytestmark = pytest.mark.quick

# Requests for encryption, which precede the startup message.
SSL, GSS = 80877103, 80877104


@pytest.fixture
def refusing_server() -> Iterator[Callable[[str, str], str]]:
    """A function that starts a server which refuses every connection; it returns its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(code: str, message: str) -> str:
        fields = {"S": "FATAL", "V": "FATAL", "C": code, "M": message}
        text = b"".join(f"{name}{value}\0".encode() for name, value in fields.items()) + b"\0"
        refusal = b"E" + (len(text) + 4).to_bytes(4, "big") + text

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    while int.from_bytes(connection.recv(10_000)[4:8], "big") in (SSL, GSS):
                        connection.sendall(b"N")
                    connection.sendall(refusal)

        threading.Thread(target=serve, daemon=True).start()
        return f"postgresql://me:secret@127.0.0.1:{listener.getsockname()[1]}/log"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("28P01", "Passwort-Authentifizierung für Benutzer »me« fehlgeschlagen"),
        ("28000", "Rolle »me« existiert nicht"),
        ("3D000", "Datenbank »log« existiert nicht"),
    ],
)
def test_misconfigured_log_is_refused(refusing_server, spool, code, message):
    with pytest.raises(LogUnavailableError, match=message):
        open_prediction_log(refusing_server(code, message)).__enter__()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("57P03", "das Datenbanksystem startet"),
        ("53300", "tut mir leid, schon zu viele Verbindungen"),
        ("53300", 'authentication failed C "28P01" for want of connections'),
    ],
)
def test_busy_server_is_waited_for(refusing_server, spool, code, message):
    with open_prediction_log(refusing_server(code, message)) as log:
        assert log.status().degraded
