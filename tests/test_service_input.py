"""What the service takes and what it refuses; the service runs in this process."""

import json

import numpy as np
import pytest
from sqlalchemy import make_url

from serving.prediction_log import features_are_logged, logging_is_on
from serving.schema import log_uri
from serving.spool import Spool, spool_file
from serving.web import predicting
from serving.web.settings import SettingsError, read_settings
from tests.conftest import PROJECT, logged
from tests.generated import LOG_SETTINGS, SERVICE_SETTINGS
from tests.log_fixtures import MODEL, opened, rows, wait_until
from tests.service_fixtures import in_process

pytestmark = pytest.mark.quick

JSON = {"Content-Type": "application/json"}
ROW = {"V1": 1.0, "gap": 2.0}
COLUMNS = {"V1": [1.0, -1.0, 3], "gap": [2.0, None, 0], "id": ["a", 7, None]}


def probability(v1, gap):
    return 1 / (1 + np.exp(-(2 * v1 - gap)))


def test_columns_are_scored_and_logged(client, database):
    answer = client.post("/predict", json=COLUMNS)
    assert answer.status_code == 200
    predictions = answer.json()["predictions"]
    expected = probability(np.array([1, -1, 3.0]), np.array([2, 0.5, 0]))
    np.testing.assert_allclose([row["score"] for row in predictions], expected, rtol=1e-12)
    assert [row["label"] for row in predictions] == [1, 0, 1]
    assert [row["id"] for row in predictions] == ["a", 7, None]
    found = logged(database)
    assert [row["prediction_id"] for row in found] == [p["prediction_id"] for p in predictions]
    assert [row["entity_id"] for row in found] == ["a", "7", None]
    assert json.loads(found[1]["features"]) == {"V1": -1.0, "gap": None}
    assert {row["run_id"] for row in found} == {"abc"}


def test_single_values_are_one_row(client):
    one = client.post("/predict", json=ROW | {"id": 12}).json()["predictions"]
    (many,) = client.post("/predict", json={"V1": [1], "gap": [2]}).json()["predictions"]
    assert one[0]["score"] == many["score"]
    assert one[0]["id"] == 12


def test_a_large_body_is_read_as_a_small_one(client, database):
    rows = 5_000
    values = list(range(rows))
    answer = client.post("/predict", json={"V1": [v / rows for v in values], "gap": values})
    predictions = answer.json()["predictions"]
    assert len(predictions) == rows == len(logged(database))
    assert predictions[17]["score"] == pytest.approx(probability(17 / rows, 17), rel=1e-12)


BAD = {
    "empty": (b"", 400, "body: must not be empty"),
    "no JSON": (b"V1=1", 400, "body: must be JSON"),
    "NaN": (b'{"V1": NaN, "gap": 1}', 400, "body: must be JSON"),
    "a list": (b"[1]", 422, "body: must be a JSON object"),
    "no columns": ({}, 422, "V1: is missing; gap: is missing"),
    "missing column": ({"gap": 1}, 422, "V1: is missing"),
    "unknown column": (ROW | {"V2": 1}, 422, "V2: is no feature of this model"),
    "text": (ROW | {"V1": "1.5"}, 422, "V1, row 0: must be a number, not a string"),
    "boolean": (ROW | {"V1": True}, 422, "V1, row 0: must be a number, not a boolean"),
    "object": (ROW | {"V1": {}}, 422, "V1, row 0: must be a number, not an object"),
    "null": (ROW | {"V1": None}, 422, "V1, row 0: must not be null"),
    "text in a list": (
        {"V1": [1, 2, "3"], "gap": [1, 2, 3]},
        422,
        "V1, row 2: must be a number, not a string",
    ),
    "boolean in a list": (
        {"V1": [1, 2], "gap": [1, False]},
        422,
        "gap, row 1: must be a number, not a boolean",
    ),
    "null in a list": ({"V1": [1, None], "gap": [1, 2]}, 422, "V1, row 1: must not be null"),
    "list in a list": ({"V1": [[1]], "gap": [1]}, 422, "V1, row 0: must be a number, not a list"),
    "ragged": ({"V1": [1, 2], "gap": [1]}, 422, "gap: must have 2 rows as V1, has 1"),
    "mixed forms": ({"V1": [1], "gap": 1}, 422, "gap: must be a list, as other columns are"),
    "no rows": ({"V1": [], "gap": []}, 422, "V1: must have at least one row"),
    "too many rows": (
        {"V1": [0] * 10_001, "gap": [0] * 10_001},
        413,
        "body: must have at most 10000 rows, has 10001: send several requests",
    ),
    "id of another length": (
        {"V1": [1, 2], "gap": [1, 2], "id": ["a"]},
        422,
        "id: must have one value for each of 2 rows",
    ),
    "id a float": (ROW | {"id": 1.5}, 422, "id, row 0: must be a string, an integer or null"),
    "id a boolean": (ROW | {"id": True}, 422, "id, row 0: must be a string, an integer or null"),
    "id too long": (ROW | {"id": "x" * 256}, 422, "id, row 0: must have at most 255 characters"),
    "id with a zero": (ROW | {"id": "a\0b"}, 422, "id, row 0: must be plain text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_never_logged(client, database, name):
    body, status, detail = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/predict", content=content, headers=JSON)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"].startswith(detail)
    (error, *_) = problem["errors"]
    assert problem["detail"].startswith(error["field"])
    assert logged(database) == []


def test_all_wrong_columns_are_named_at_once(client):
    problem = client.post("/predict", json={"V1": "a", "gap": "b"}).json()
    assert [(e["field"], e["row"]) for e in problem["errors"]] == [("V1", 0), ("gap", 0)]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(client, database, content_type):
    answer = client.post("/predict", content=b"{}", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_too_large_a_body_is_refused_with_and_without_a_length(tiny_model, database):
    with in_process(tiny_model, max_bytes=2_000) as client:
        body = json.dumps(ROW | {"id": "x" * 200}).encode()
        assert client.post("/predict", content=body, headers=JSON).status_code == 200
        for too_large in (b" " * 2_001, iter([b" " * 1_500] * 2)):
            answer = client.post("/predict", content=too_large, headers=JSON)
            assert answer.status_code == 413
            assert answer.json()["detail"] == "body: must have at most 2000 bytes"
    assert len(logged(database)) == 1


def test_a_retry_with_a_key_gets_the_stored_answer(client, database):
    headers = {"Idempotency-Key": "order-1"}
    first = client.post("/predict", json=COLUMNS, headers=headers)
    assert first.status_code == 200
    assert client.post("/predict", json=COLUMNS, headers=headers).json() == first.json()
    other = client.post("/predict", json=ROW, headers=headers)
    assert other.status_code == 409
    assert "order-1" in other.json()["detail"]
    assert len(logged(database)) == 3


@pytest.mark.parametrize("key", ["", "x" * 256, "é".encode(), "a\tb"])
def test_a_key_that_cannot_be_one_is_refused(client, database, key):
    answer = client.post("/predict", json=ROW, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert logged(database) == []


def test_every_other_error_is_a_problem_too(client, monkeypatch):
    monkeypatch.setattr(predicting, "predict_rows", lambda *_: 1 / 0)
    for answer, status in (
        (client.get("/nowhere"), 404),
        (client.get("/predict"), 405),
        (client.get("/predictions?limit=0"), 422),
        (client.get("/predictions?before=x"), 422),
        (client.post("/predict", json=ROW), 500),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert "Traceback" not in answer.text
        assert "ZeroDivision" not in answer.text


INVOCATIONS = {
    "split": {"dataframe_split": {"columns": ["V1", "gap", "id"], "data": [[1.0, 2.0, "a"]]}},
    "records": {"dataframe_records": [{"V1": 1.0, "gap": 2.0, "id": "a"}]},
    "instances": {"instances": [{"V1": 1.0, "gap": 2.0, "id": "a"}]},
    "inputs": {"inputs": {"V1": [1.0], "gap": [2.0], "id": ["a"]}},
}


@pytest.mark.parametrize("form", INVOCATIONS)
def test_each_form_of_mlflows_protocol_is_taken(client, database, form):
    answer = client.post("/invocations", json=INVOCATIONS[form])
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert sorted(prediction) == ["label", "prediction_id", "score"]
    assert prediction["score"] == pytest.approx(probability(1, 2), rel=1e-12)
    (row,) = logged(database)
    assert (row["entity_id"], row["prediction_id"]) == ("a", prediction["prediction_id"])


def test_mlflows_protocol_takes_csv_and_says_that_it_is_up(client, database):
    csv = "V1,gap,id\n1.0,2.0,a\n1.0,,b\n"
    answer = client.post("/invocations", content=csv, headers={"Content-Type": "text/csv"})
    assert [p["label"] for p in answer.json()["predictions"]] == [1, 1]
    assert [row["entity_id"] for row in logged(database)] == ["a", "b"]
    assert client.get("/ping").status_code == 200
    assert client.get("/version").text[0].isdigit()


def test_a_request_id_of_mlflows_protocol_makes_a_retry_safe(client, database):
    body = INVOCATIONS["split"] | {"params": {"request_id": "r"}}
    first = client.post("/invocations", json=body)
    assert client.post("/invocations", json=body).json() == first.json()
    other = INVOCATIONS["split"] | {"params": {"request_id": "r"}}
    other["dataframe_split"] = {"columns": ["V1", "gap"], "data": [[5.0, 5.0]]}
    conflict = client.post("/invocations", json=other)
    assert conflict.status_code == 409
    assert conflict.json()["error_code"] == "RESOURCE_CONFLICT"
    assert len(logged(database)) == 1


BAD_INVOCATIONS = {
    "no JSON": (b"{", "valid JSON"),
    "two forms": (json.dumps(INVOCATIONS["split"] | INVOCATIONS["records"]).encode(), "exactly"),
    "missing column": (b'{"dataframe_records": [{"gap": 1.0}]}', "V1"),
    "text": (b'{"dataframe_records": [{"V1": "x", "gap": 1.0}]}', "V1"),
    "null": (b'{"dataframe_records": [{"V1": null, "gap": 1.0}]}', "V1"),
    "too many rows": (
        json.dumps({"inputs": {"V1": [0.0] * 10_001, "gap": [0.0] * 10_001}}).encode(),
        "at most 10000 rows",
    ),
}


@pytest.mark.parametrize("name", BAD_INVOCATIONS)
def test_bad_input_of_mlflows_protocol_is_told_as_its_clients_expect(client, database, name):
    body, reason = BAD_INVOCATIONS[name]
    answer = client.post("/invocations", content=body, headers=JSON)
    assert answer.status_code == 400
    content = answer.json()
    assert reason in content["message"]
    assert content["error_code"]
    assert "Traceback" not in answer.text
    assert logged(database) == []


def test_mlflows_protocol_wants_its_content_types(client):
    for content_type in ("text/plain", "application/vnd.apache.parquet"):
        answer = client.post("/invocations", content=b"", headers={"Content-Type": content_type})
        assert answer.status_code == 415


def test_feedback_is_joined_and_unknown_ids_are_named(client):
    given = client.post("/predict", json=COLUMNS).json()["predictions"]
    labels = [
        {"prediction_id": given[0]["prediction_id"], "label": 1},
        {"id": 7, "label": 0, "observed_at": "2999-01-01T00:00:00+01:00"},
        {"id": "nobody", "label": 1},
        {"id": "a", "label": 0, "observed_at": "2000-01-01T00:00:00Z"},
    ]
    answer = client.post("/feedback", json={"labels": labels})
    assert answer.json() == {"recorded": 2, "unknown": ["nobody", "a"]}
    rows = client.get("/predictions").json()["predictions"]
    assert [row["true_label"] for row in rows] == [None, 0, 1]


BAD_LABELS = {
    "no JSON": (b"{", 400, "body"),
    "no labels": (b'{"labels": []}', 422, "labels"),
    "2": (b'{"labels": [{"id": "a", "label": 2}]}', 422, "labels[0].label"),
    "true": (b'{"labels": [{"id": "a", "label": true}]}', 422, "labels[0].label"),
    "text": (b'{"labels": [{"id": "a", "label": "1"}]}', 422, "labels[0].label"),
    "no id": (b'{"labels": [{"label": 1}]}', 422, "labels[0]"),
    "two ids": (b'{"labels": [{"id": "a", "prediction_id": "b", "label": 1}]}', 422, "labels[0]"),
    "no zone": (
        b'{"labels": [{"id": "a", "label": 1, "observed_at": "2026-01-01T00:00:00"}]}',
        422,
        "labels[0].observed_at",
    ),
    "another field": (b'{"labels": [{"id": "a", "label": 1, "x": 1}]}', 422, "labels[0].x"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_bad_feedback_is_named_and_changes_nothing(client, name):
    client.post("/predict", json=ROW | {"id": "a"})
    body, status, field = BAD_LABELS[name]
    answer = client.post("/feedback", content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["field"] == field
    assert client.get("/predictions").json()["predictions"][0]["true_label"] is None


def test_the_log_is_paged_newest_first_as_json_and_csv(client):
    for start in range(5):
        client.post("/predict", json=ROW | {"id": start})
    first = client.get("/predictions?limit=3")
    assert [row["entity_id"] for row in first.json()["predictions"]] == ["4", "3", "2"]
    second = client.get(first.links["next"]["url"])
    assert [row["entity_id"] for row in second.json()["predictions"]] == ["1", "0"]
    assert second.json()["next"] is None
    csv = client.get("/predictions?limit=3", headers={"Accept": "text/csv"})
    assert csv.headers["content-type"].startswith("text/csv")
    header, *lines = csv.text.splitlines()
    assert header.startswith("prediction_id,request_id,row_index,entity_id")
    assert len(lines) == 3


def test_metrics_count_requests_rows_and_scores(client):
    def value(name):
        for line in client.get("/metrics").text.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0.0

    names = (
        'mlpipes_requests_total{route="/predict",status="200"}',
        'mlpipes_requests_total{route="/predict",status="422"}',
        'mlpipes_request_seconds_count{route="/predict"}',
        "mlpipes_rows_logged_total",
        "mlpipes_score_count",
    )
    before = [value(name) for name in names]
    client.post("/predict", json=COLUMNS)
    client.post("/predict", json={})
    after = [value(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 2, 3, 3]
    frame = {"dataframe_records": [ROW], "params": {"request_id": "order-2"}}
    for _ in range(2):  # a retry is answered again, but logged and counted once
        client.post("/predict", json=COLUMNS, headers={"Idempotency-Key": "order-1"})
        client.post("/invocations", json=frame)
    retried = [value(name) for name in names]
    assert [b - a for a, b in zip(after, retried, strict=True)] == [2, 0, 2, 4, 8]
    assert value("mlpipes_spool_rows") == value("mlpipes_log_degraded") == 0


def test_it_is_degraded_while_predictions_wait_in_the_spool(client, database, monkeypatch):
    """Also when the log is back, and they are not all moved yet."""

    def ready():
        return client.get("/health/ready").json()

    with monkeypatch.context() as stuck:
        stuck.setattr(Spool, "move", lambda *_: 0)
        (file,) = (database.parent / "spool").glob("*.db")
        with opened(f"sqlite:///{file}") as spool:  # it has the tables of a log
            spool.record(rows(2), MODEL, "test")
        wait_until(lambda: ready()["spooled"])
        answer = ready()
        assert (answer["status"], answer["spooled"]) == ("degraded", 2)
        assert "moved from the spool" in answer["reason"]
        assert "Degraded: predictions are being moved" in client.get("/").text
        assert "mlpipes_log_degraded 1.0" in client.get("/metrics").text
    wait_until(lambda: not ready()["spooled"])
    assert (ready()["status"], ready()["reason"]) == ("ready", None)
    assert len(logged(database)) == 2


def test_with_the_log_turned_off_rows_are_answered_and_not_kept(tiny_model, database, monkeypatch):
    monkeypatch.setenv("PREDICTION_LOG", "off")
    with in_process(tiny_model) as client:
        assert client.post("/predict", json=ROW).status_code == 200
        assert client.get("/health/ready").status_code == 200
        for answer in (
            client.get("/predictions"),
            client.post("/feedback", json={"labels": [{"id": "a", "label": 1}]}),
        ):
            assert answer.status_code == 503
            assert "turned off" in answer.json()["detail"]
        assert "turned off" in client.get("/").text
    assert not database.exists()


def test_the_champion_is_described(client):
    model = client.get("/model").json()
    assert model["features"][1] == {"name": "gap", "type": "double", "nullable": True}
    assert (model["kind"], model["threshold"], model["run_id"]) == ("onnx", 0.5, "abc")
    ready = client.get("/health/ready").json()
    assert (ready["status"], ready["reason"]) == ("ready", None)


def test_the_document_names_the_champions_features(client):
    document = client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    columns, row = body["schema"]["oneOf"]
    assert columns["required"] == row["required"] == ["V1", "gap"]
    example = body["examples"]["two rows"]["value"]
    assert client.post("/predict", json=example).status_code == 200


def test_the_worked_example_is_that_of_mlflows_protocol():
    columns = json.loads((PROJECT / "serving" / "web" / "two-rows.json").read_text())
    split = json.loads((PROJECT / "docs" / "two-rows-mlflow.json").read_text())["dataframe_split"]
    assert list(columns) == split["columns"]
    assert [list(row) for row in zip(*columns.values(), strict=True)] == split["data"]


# --- Who may ask


def test_with_keys_only_health_is_open(tiny_model, database):
    with in_process(tiny_model, api_keys="old-key, new-key") as client:
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
    assert len(logged(database)) == 2


def test_no_key_is_ever_logged(tiny_model, database, caplog):
    caplog.set_level("DEBUG")
    with in_process(tiny_model, api_keys="very-secret") as client:
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
def test_a_page_of_another_origin_can_log_nothing(client, database, headers):
    for path, content_type, body in (
        ("/", "application/x-www-form-urlencoded", b"V1=1&gap=1"),
        ("/predict", "application/json", b'{"V1": 1, "gap": 1}'),
        ("/invocations", "text/csv", b"V1,gap\n1,1\n"),
    ):
        answer = client.post(path, content=body, headers=headers | {"Content-Type": content_type})
        assert answer.status_code == 403
    assert logged(database) == []


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_page_of_the_service_behind_a_proxy_is_its_own(client, site):
    """The proxy's name is in Origin, the one behind it in Host: the browser says what it saw."""
    headers = {"Origin": "https://fraud.example.com", "Sec-Fetch-Site": site}
    assert client.post("/predict", json=ROW, headers=headers).status_code == 200
    assert client.post("/", data={"V1": "1", "gap": "1"}, headers=headers).status_code == 200


# --- The root page, without a browser


def test_the_form_is_scored_and_logged_like_any_other(client, database):
    same_origin = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/", data={"V1": "1e0", "gap": "", "id": "mine"}, headers=same_origin)
    assert answer.status_code == 200
    (row,) = logged(database)
    assert (row["entity_id"], json.loads(row["features"])) == ("mine", {"V1": 1.0, "gap": None})
    assert row["prediction_id"] in answer.text


@pytest.mark.parametrize("value", ["", "x", "1_0", "nan", "inf", "1e999"])
def test_the_form_refuses_what_is_no_number(client, database, value):
    answer = client.post("/", data={"V1": value, "gap": "1"})
    assert answer.status_code == 422
    assert "V1, row 0: must" in answer.text
    assert logged(database) == []


def test_the_page_shows_what_was_sent_as_text_only(client):
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
def test_pages_name_nothing_from_elsewhere(client, path):
    page = client.get(path).text
    assert "://" not in page
    for asset in ("static/root.css", "static/docs.js", "static/swagger/swagger-ui-bundle.js"):
        assert client.get(asset).status_code == 200


# --- Settings

WRONG_SETTINGS = {
    "MLPIPES_MAX_ROWS": "none",
    "MLPIPES_MAX_BYTES": "1",
    "MLPIPES_POLL_SECONDS": "0",
    "MLPIPES_API_KEYS": "secret key",
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_wrong_setting_is_one_line_that_does_not_show_it(monkeypatch, name):
    monkeypatch.setenv(name, WRONG_SETTINGS[name])
    with pytest.raises(SettingsError, match=name) as caught:
        read_settings()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_empty_settings_are_the_defaults(monkeypatch):
    """Compose passes on what is not set as empty."""
    names = LOG_SETTINGS.keys() | SERVICE_SETTINGS.keys()
    for name in names:
        monkeypatch.delenv(name, raising=False)

    def settings():
        spool = spool_file(make_url(log_uri()))
        return read_settings(), log_uri(), spool, logging_is_on(), features_are_logged()

    defaults = settings()
    for name in names:
        monkeypatch.setenv(name, "")
    assert settings() == defaults
