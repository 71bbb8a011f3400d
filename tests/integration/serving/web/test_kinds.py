"""Features of every kind in the doors of the service, its documents and its page."""

import re

import pytest

from tests.support.log_fixtures import logged_rows
from tests.support.mixed_model import EXAMPLE, EXAMPLE_SCORES, ID_COLUMN

pytestmark = pytest.mark.quick

CSV_LINES = (
    "zip,since,member,active,paid,Charges ($),id,customerID,Class\n"
    '007,31.05.2022,yes,true,,"12.5",1,a,x\n'
    "1,,,false,TRUE, ,,b,\n"
)
FORM = {
    "zip": "007", "since": "2022-05-31", "member": "Yes", "active": "true", "paid": "",
    "Charges ($)": "12.5", "id": "1", ID_COLUMN: "a",
}  # fmt: skip
CSV = {"Content-Type": "text/csv"}


def scores(answer):
    assert answer.status_code == 200, answer.text
    return [row["score"] for row in answer.json()["predictions"]]


def row(**changes):
    return {name: values[0] for name, values in EXAMPLE.items()} | changes


def test_doors_score_the_same(mixed_client, database):
    records = [
        dict(zip(EXAMPLE, values, strict=True)) for values in zip(*EXAMPLE.values(), strict=True)
    ]
    split = {"columns": list(EXAMPLE), "data": [list(values.values()) for values in records]}
    expected = pytest.approx(EXAMPLE_SCORES.tolist(), rel=1e-12)
    assert scores(mixed_client.post("/predict", json=EXAMPLE)) == expected
    for body in ({"inputs": EXAMPLE}, {"dataframe_split": split}, {"dataframe_records": records}):
        assert scores(mixed_client.post("/invocations", json=body)) == expected
    assert scores(mixed_client.post("/invocations", content=CSV_LINES, headers=CSV)) == expected
    assert mixed_client.post("/", data=FORM).status_code == 200
    found = logged_rows(database)
    assert [row["score"] for row in found] == pytest.approx(
        [*EXAMPLE_SCORES.tolist() * 5, EXAMPLE_SCORES[0]]
    )
    assert {row["entity_id"] for row in found} == {"a", "b"}
    assert [row["features"] for row in found[:2]] == [row["features"] for row in found[-3:-1]]


def test_answers_name_the_id_of_the_id_column(mixed_client):
    answer = mixed_client.post("/predict", json=EXAMPLE).json()
    assert [row["id"] for row in answer["predictions"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"zip": {}}, "zip, row 0: must be text, not an object"),
        ({"since": "May"}, "since, row 0: must be a date (ISO 8601 or %d.%m.%Y), not a string"),
        ({"member": "perhaps"}, "member, row 0: must be No or Yes, not a string, 'perhaps'"),
        ({"active": None}, "active, row 0: must not be null"),
        ({"Charges ($)": "much"}, "Charges ($), row 0: must be a number, not a string, 'much'"),
        ({"id": "1"}, "id, row 0: must be a number, not a string, '1'"),
        ({ID_COLUMN: 1.5}, "customerID, row 0: must be a string, an integer or null"),
    ],
)
def test_invalid_values_name_column_and_rule(mixed_client, values, rule):
    answer = mixed_client.post("/predict", json=row() | values)
    assert answer.status_code == 422
    assert rule in answer.json()["detail"]


def test_openapi_describes_every_kind(mixed_client):
    document = mixed_client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    columns, one_row = (form["properties"] for form in body["schema"]["oneOf"])
    assert one_row.pop("explain") == columns.pop("explain")
    assert one_row == {
        "zip": {"type": ["string", "null"], "examples": ["007", "12345", "1"]},
        "since": {"type": ["string", "null"], "format": "date"},
        "member": {"type": ["string", "null"], "examples": ["No", "Yes"]},
        "active": {"type": "boolean"},
        "paid": {"type": ["boolean", "null"]},
        "Charges ($)": {"type": ["number", "null"]},
        "id": {"type": ["number", "null"]},
        ID_COLUMN: {"type": ["string", "integer", "null"], "maxLength": 255},
    }
    assert {name: schema["items"] for name, schema in columns.items()} == one_row
    assert body["examples"]["two rows"]["value"] == EXAMPLE


def test_model_names_target_classes_and_id_column(mixed_client):
    model = mixed_client.get("/model").json()
    assert (model["target"], model["classes"]) == ("left", ["stayed", "left"])
    assert model["id_column"] == ID_COLUMN
    assert (
        model["features"][0] | {"name": "zip", "kind": "category", "nullable": True}
        == (model["features"][0])
    )


def test_form_has_a_field_for_each_kind(mixed_client):
    page = mixed_client.get("/?example=0").text
    fields = re.findall(r'<(input|select) id="f\d+" name="([^"]+)"( required)?([^>]*)', page)
    assert [(name, tag, bool(required)) for tag, name, required, _ in fields] == [
        ("zip", "input", False),
        ("since", "input", False),
        ("member", "select", False),
        ("active", "select", True),
        ("paid", "select", False),
        ("Charges ($)", "input", False),
        ("id", "input", False),
    ]
    assert 'list="f1-levels" value="007"' in fields[0][3]
    assert '<option value="12345">' in page
    assert 'type="date" value="2022-05-31"' in fields[1][3]
    assert "<option selected>Yes</option>" in page
    assert "<option selected>true</option>" in page
    assert f'name="{ID_COLUMN}"' in page


def test_example_of_earlier_models_can_be_sent(client):
    document = client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    example = body["examples"]["two rows"]["value"]
    assert example == {"V1": [0.0, 0.0], "gap": [0.0, 0.0], "id": ["a", "b"]}
    assert client.post("/predict", json=example).status_code == 200


def test_unseen_levels_are_scored_and_counted_once(mixed_client):
    def count():
        metrics = mixed_client.get("/metrics").text
        found = re.search(r'^mlpipes_unseen_levels_total\{feature="zip"\} (.*)$', metrics, re.M)
        return float(found[1]) if found else 0.0

    before, unseen = count(), EXAMPLE | {"zip": ["00", None]}
    for _ in range(2):
        answer = mixed_client.post("/predict", json=unseen, headers={"Idempotency-Key": "once"})
        assert answer.status_code == 200
    assert count() == before + 1
    many = {name: values * 50 for name, values in unseen.items() if name != ID_COLUMN}
    mixed_client.post("/invocations", json={"inputs": many})
    mixed_client.post("/", data=FORM | {"zip": "7"})
    assert count() == before + 1 + 50 + 1
    mixed_client.post("/predict", json=EXAMPLE)
    assert count() == before + 52
