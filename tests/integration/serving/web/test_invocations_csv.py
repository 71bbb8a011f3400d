"""CSV in MLflow's scoring protocol."""

import json

import pytest

from tests.support.log_fixtures import logged_rows

pytestmark = pytest.mark.quick


def post(client, body):
    return client.post("/invocations", content=body, headers={"Content-Type": "text/csv"})


BAD_CSV = {
    "empty": ("", "body: must have a header"),
    "long line": ("V1,gap\n1,2,3\n", "body, row 0: has 3 values, but the header has 2"),
    "long lines": ("V1,gap\n1,2,3\n4,5,6\n", "body, row 0: has 3 values"),
    "later long line": ("V1,gap\n1,2\n1,2,3\n", "body, row 1: has 3 values"),
    "two more values": ("V1,gap\n1,2,3,4\n", "body, row 0: has 4 values"),
    "short line": ("V1,gap\n1,2\n1\n", "body, row 1: has 1 values, but the header has 2"),
    "open quote": ('V1,gap\n1,"2\n', "body: line 2 must be CSV"),
    "text after quote": ('V1,gap\n1,"2"3\n', "body: line 2 must be CSV"),
    "duplicate column": ("V1,gap,gap\n1,2,3\n", "gap: must be given once, is a duplicate column"),
    "missing column": ("V1\n1\n", "gap: is missing"),
    "no rows": ("V1,gap\n", "V1: must have at least one row"),
    "text": ("V1,gap\nx,2\n", "V1, row 0: must be a number, not a string, 'x'"),
    "underscore": ("V1,gap\n1_0,2\n", "V1, row 0: must be a number"),
    "NA": ("V1,gap\nNA,2\n", "V1, row 0: must not be null"),
    "boolean": ("V1,gap\nTrue,2\n", "V1, row 0: must be a number"),
    "infinite": ("V1,gap\n1e999,2\n", "V1, row 0: must be finite"),
    "blank": ("V1,gap\n,2\n", "V1, row 0: must not be null"),
    "long id": (f"V1,gap,id\n1,2,{'x' * 256}\n", "id, row 0: must have at most 255 characters"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_malformed_csv_is_rejected(client, database, name):
    body, reason = BAD_CSV[name]
    answer = post(client, body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(reason)
    assert logged_rows(database) == []


def test_csv_in_other_encoding_is_rejected(client):
    answer = post(client, "V1,gap,id\n1,2,é\n".encode("latin-1"))
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["message"]


def test_csv_ids_remain_texts(client, database):
    ids = ["NA", "nan", "None", "null", "007", "1.0", "", "a,b"]
    lines = [f'1,2,"{text}"' for text in ids]
    assert post(client, "\n".join(["V1,gap,id", *lines])).status_code == 200
    assert [row["entity_id"] for row in logged_rows(database)] == [text or None for text in ids]


def test_csv_reads_numbers_in_quotes_and_nulls(client, database):
    body = '\ufeffid,gap,Class,V1\r\na,,x,"1.5"\r\n\r\nb,-2e-1,,.5\r\nc,NA,,0\r\n'
    assert post(client, body).status_code == 200
    assert [json.loads(row["features"]) for row in logged_rows(database)] == [
        {"V1": 1.5, "gap": None},
        {"V1": 0.5, "gap": -0.2},
        {"V1": 0.0, "gap": None},
    ]
