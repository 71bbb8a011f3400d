"""API keys, and requests of other origins."""

import pytest

from tests.support.log_fixtures import logged_rows
from tests.support.service_fixtures import behind_prefix, service_in_process
from tests.support.tiny_model import ROW

pytestmark = pytest.mark.quick


def test_api_keys_protect_all_but_health(tiny_model, database):
    with service_in_process(tiny_model, api_keys="old-key, new-key") as client:
        for path in ("/", "/docs", "/openapi.json", "/metrics", "/model", "/predictions", "/ping"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
            assert answer.json()["status"] == 401
        assert client.post("/predict", json=ROW).status_code == 401
        assert client.post("/predict", json=ROW, headers={"X-API-Key": "no"}).status_code == 401
        assert client.get("/model", headers={"Authorization": "Basic !"}).status_code == 401
        assert client.get("/model", auth=("old-key", "wrong")).status_code == 401
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200
        for key in ("old-key", "new-key"):
            assert client.post("/predict", json=ROW, headers={"X-API-Key": key}).status_code == 200
            assert client.get("/metrics", auth=("anyone", key)).status_code == 200
        document = client.get("/openapi.json", headers={"X-API-Key": "new-key"}).json()
        assert document["security"]
    assert len(logged_rows(database)) == 2


@pytest.mark.parametrize("prefix", ["/scores", "/health"])
def test_api_keys_protect_all_but_health_behind_prefix(tiny_model, database, prefix):
    with service_in_process(tiny_model, api_keys="key") as client:
        behind = behind_prefix(client, prefix)
        for path in ("/health/live", "/health/ready"):
            assert behind.get(prefix + path).status_code == 200
        for path in ("/", "/metrics", "/model", "/predictions"):
            assert behind.get(prefix + path).status_code == 401
        assert behind.post(prefix + "/predict", json=ROW).status_code == 401


def test_api_keys_are_not_logged(tiny_model, database, caplog):
    caplog.set_level("DEBUG")
    with service_in_process(tiny_model, api_keys="very-secret") as client:
        for key in ("very-secret", "very-secret-not"):
            client.get("/model", headers={"X-API-Key": key})
            client.post("/predict", content=b"x", auth=("user", key))
    assert "very-secret" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
    ],
)
def test_cross_origin_requests_are_rejected(client, database, headers):
    for path, content_type, body in (
        ("/", "application/x-www-form-urlencoded", b"V1=1&gap=1"),
        ("/predict", "application/json", b'{"V1": 1, "gap": 1}'),
        ("/invocations", "text/csv", b"V1,gap\n1,1\n"),
    ):
        answer = client.post(path, content=body, headers=headers | {"Content-Type": content_type})
        assert answer.status_code == 403
    assert logged_rows(database) == []


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_same_origin_behind_proxy_is_accepted(client, site):
    """The proxy's name is in Origin, the one behind it in Host: the browser says what it saw."""
    headers = {"Origin": "https://fraud.example.com", "Sec-Fetch-Site": site}
    assert client.post("/predict", json=ROW, headers=headers).status_code == 200
    assert client.post("/", data={"V1": "1", "gap": "1"}, headers=headers).status_code == 200
