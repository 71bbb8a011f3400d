"""Root page and documentation page, without a browser."""

import json

import pytest

from serving.web.routes import pages
from tests.support.log_fixtures import logged_rows
from tests.support.tiny_model import COLUMNS, ROW

pytestmark = pytest.mark.quick


def test_form_is_scored_and_logged(client, database):
    same_origin = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/", data={"V1": "1e0", "gap": "", "id": "mine"}, headers=same_origin)
    assert answer.status_code == 200
    (row,) = logged_rows(database)
    assert (row["entity_id"], json.loads(row["features"])) == ("mine", {"V1": 1.0, "gap": None})
    assert row["prediction_id"] in answer.text


@pytest.mark.parametrize("value", ["", "x", "1_0", "nan", "inf", "1e999"])
def test_form_rejects_non_numbers(client, database, value):
    answer = client.post("/", data={"V1": value, "gap": "1"})
    assert answer.status_code == 422
    assert "V1, row 0: must" in answer.text
    assert logged_rows(database) == []


def test_page_escapes_input(client):
    evil = '"><script>alert(1)</script>'
    pages = [
        client.post("/", data={"V1": "1", "gap": "1", "id": evil}),
        client.post("/", data={"V1": evil, "gap": "1"}),
        client.post("/", data={"V1": "1", "gap": "1", evil: "1"}),
        client.get("/"),
    ]
    for page in pages:
        assert "<script" not in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
    assert "&lt;script&gt;" in pages[0].text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_no_external_resources(client, path):
    page = client.get(path).text
    assert "://" not in page
    for asset in ("static/root.css", "static/docs.js", "static/swagger/swagger-ui-bundle.js"):
        assert client.get(asset).status_code == 200


def test_page_counts_rows_up_to_a_limit(client, monkeypatch):
    monkeypatch.setattr(pages, "MAX_COUNTED", 3)
    client.post("/predict", json=COLUMNS)
    assert "<dd>3</dd>" in client.get("/").text
    client.post("/predict", json=ROW)
    assert "<dd>more than 3</dd>" in client.get("/").text
