"""Texts of callers that PostgreSQL cannot store: the callers' errors, not outages."""

from urllib.parse import urlencode

import pytest

from tests.support.service_fixtures import service_in_process
from tests.support.tiny_model import JSON_HEADERS, ROW

FORM_HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
TEXTS = ["a\0b", "\ud800", "x" * 256, "\0"]


@pytest.fixture
def on_postgresql(tiny_model, spool, postgres_uri, monkeypatch):
    monkeypatch.setenv("PREDICTION_LOG_URI", postgres_uri)
    with service_in_process(tiny_model) as client:
        yield client


def as_json(text):
    """Return a text in JSON, halves of surrogate pairs as escapes."""
    escaped = "".join(f"\\u{ord(c):04x}" if c in "\0\ud800" else c for c in text)
    return f'"{escaped}"'


@pytest.mark.parametrize("text", TEXTS)
def test_texts_that_cannot_be_stored_are_rejected(on_postgresql, text):
    value = as_json(text)
    bodies = {
        "/predict": f'{{"V1": 1, "gap": 1, "id": {value}}}',
        "/invocations": f'{{"inputs": {{"V1": 1, "gap": 1, "id": {value}}}}}',
        "/feedback": f'{{"labels": [{{"id": {value}, "label": 1}}]}}',
    }
    bodies_by_name = [
        *bodies.items(),
        ("/feedback", f'{{"labels": [{{"prediction_id": {value}, "label": 1}}]}}'),
        (
            "/invocations",
            f'{{"inputs": {{"V1": 1, "gap": 1}}, "params": {{"request_id": {value}}}}}',
        ),
    ]
    for path, body in bodies_by_name:
        answer = on_postgresql.post(path, content=body, headers=JSON_HEADERS)
        assert answer.status_code in (400, 422), (path, answer.text)
    csv = f"V1,gap,id\n1,1,{text}\n".encode("utf-8", "surrogatepass")
    answer = on_postgresql.post("/invocations", content=csv, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400
    form = {"V1": "1", "gap": "1", "id": text.encode("utf-8", "surrogatepass")}
    answer = on_postgresql.post("/", content=urlencode(form), headers=FORM_HEADERS)
    assert answer.status_code in (400, 422)
    assert on_postgresql.get("/health/ready").json()["status"] == "ready"


@pytest.mark.parametrize("id_", ["%00", "a%00b", "%ED%A0%80", "x" * 300, ""])
def test_cursors_that_no_page_gave_are_no_outage(on_postgresql, id_):
    on_postgresql.post("/predict", json=ROW)
    answer = on_postgresql.get(f"/predictions?before=20260101T000000.000000Z_{id_}")
    assert answer.status_code in (200, 422)
    ends = ("00010101T000000.000000Z_a", "99991231T235959.999999Z_a", "00000101T000000.0Z_a")
    for cursor in ends:
        assert on_postgresql.get(f"/predictions?before={cursor}").status_code in (200, 422)
