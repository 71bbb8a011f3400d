"""The service without API keys: host names and addresses."""

import pytest
from fastapi.testclient import TestClient

from tests.support.service_fixtures import behind_prefix, service_in_process

pytestmark = pytest.mark.quick
LOOPBACK = "http://127.0.0.1:5001"
FOREIGN = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "")


def get(client, path, host):
    return client.get(path, headers={"Host": host})


def connected_to(client, address):
    """Return a client of the same service whose connection has this local address."""
    return TestClient(client.app, base_url=f"http://{address}:5001", raise_server_exceptions=False)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:5001", "127.0.0.1", "127.8.0.1", "[::1]:5"]
)
def test_loopback_names_are_answered(tiny_model, database, host):
    with service_in_process(tiny_model, hosts="") as client:
        assert get(connected_to(client, "127.0.0.1"), "/predictions", host).status_code == 200


def test_other_names_are_refused(tiny_model, database):
    with service_in_process(tiny_model, hosts="Fraud.example, 10.1.1.1:5001") as client:
        for host in FOREIGN:
            for path in ("/predictions", "/", "/model", "/openapi.json", "/static/root.css"):
                answer = client.get(path, headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
                assert answer.status_code == 403
                assert "MLPIPES_HOSTS" in answer.json()["detail"]
            for path in ("/health/live", "/health/ready", "/metrics"):
                assert get(client, path, host).status_code == 200
        for host in (
            "fraud.example",
            "FRAUD.example:443",
            "fraud.example.",
            "10.1.1.1",
            "localhost",
        ):
            assert get(client, "/predictions", host).status_code == 200


def test_other_names_are_refused_behind_prefix(tiny_model, database):
    with service_in_process(tiny_model, hosts="fraud.example") as client:
        behind = behind_prefix(client)
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert get(behind, f"/scores{path}", "evil.example").status_code == 200
        assert get(behind, "/scores/predictions", "evil.example").status_code == 403


@pytest.mark.parametrize("address", ["10.0.0.5", "[fe80::1]", "0.0.0.0"])
def test_other_addresses_are_refused_without_hosts(tiny_model, database, address):
    with service_in_process(tiny_model, hosts="") as client:
        outside = connected_to(client, address)
        for path in ("/predictions", "/health/live", "/metrics"):
            answer = get(outside, path, "localhost")
            assert answer.status_code == 403
            assert "MLPIPES_API_KEYS" in answer.json()["detail"]
        for local in ("127.0.0.1", "127.5.5.5", "[::1]", "[::ffff:127.0.0.1]"):
            assert get(connected_to(client, local), "/predictions", "localhost").status_code == 200


def test_keys_open_any_name_and_address(tiny_model, database):
    with service_in_process(tiny_model, hosts="", api_keys="key") as client:
        outside = connected_to(client, "10.0.0.5")
        headers = {"Host": "fraud.example", "X-API-Key": "key"}
        assert outside.get("/predictions", headers=headers).status_code == 200
        assert get(outside, "/health/live", "fraud.example").status_code == 200


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hosts": ""}, "accepting only loopback connections"),
        ({"hosts": "fraud.example"}, "everyone who can connect is answered, under the names"),
    ],
)
def test_start_reports_open_access(tiny_model, database, caplog, settings, line):
    with service_in_process(tiny_model, **settings):
        assert line in caplog.text
