"""Values of exported predictions: those that were logged, bit by bit, from both databases."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy as sa

from serving.log.database.engine import connect
from serving.log.database.migrations import upgrade
from serving.log.database.schema import ground_truth, predictions
from steps.prediction_log import export as export_module
from steps.prediction_log.export import export
from steps.prediction_log.feature_decoder import FeatureDecoder
from tests.support.odd_names import ODD_NAMES

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("spool")]

START = datetime(2025, 1, 1, 12, tzinfo=UTC)
IDS = ['=HYPERLINK("x")', None, "", "NULL", "\\.", 'a,"b"\nc', " é "]
NUMBERS = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1e308, 2.0**53 + 2, 1 / 3, None]


def logged(place: int, features: dict[str, object] | None, version: str = "1") -> dict[str, object]:
    return {
        "prediction_id": f"{place:06}",
        "request_id": None,
        "row_index": place,
        "entity_id": IDS[place % len(IDS)],
        "created_at": START + timedelta(microseconds=place),
        "model_name": None,
        "model_version": version,
        "run_id": f"run {version}",
        "score": 1 / (place + 3),
        "label": place % 2,
        "threshold": 0.5,
        "features": features,
        "source": "test",
    }


def exported(uri, rows, folder):
    """Return the exported file of a log with `rows`, of which every third has two labels."""
    engine = connect(uri)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(predictions.insert(), rows)
        for label, row in [(label, row) for label in (1, 0) for row in rows[::3]]:
            recorded = row["created_at"] + timedelta(seconds=1 - label)
            connection.execute(
                ground_truth.insert().values(
                    prediction_id=row["prediction_id"],
                    label=label,
                    observed_at=recorded,
                    recorded_at=recorded,
                )
            )
    engine.dispose()
    assert export(uri, folder / "out.parquet", None, None) == len(rows)
    return pa.parquet.read_table(folder / "out.parquet")


def bits(values):
    return np.array(values, dtype=np.float64).view(np.uint64).tolist()


def test_values_of_every_kind_stay_as_they_were_logged(uri, tmp_path):
    features = {"when": "2025-01-01", "member": True} | dict.fromkeys(ODD_NAMES)
    rows = [logged(n, features | {"V1": v, "v1": v}) for n, v in enumerate(NUMBERS)]
    rows.append(logged(len(rows), None))
    table = exported(uri, rows, tmp_path)
    for name in ("V1", "v1"):
        column = table[name].to_pylist()
        assert bits(column[:-2]) == bits(NUMBERS[:-1])
        assert column[-2:] == [None, None]
    assert table["when"].to_pylist() == ["2025-01-01"] * 8 + [None]
    assert table["member"].to_pylist() == [1.0] * 8 + [None]
    for name in ("entity_id", "created_at", "model_name", "model_version", "source", "threshold"):
        assert table[name].to_pylist() == [row[name] for row in rows]
    assert bits(table["score"].to_pylist()) == bits([row["score"] for row in rows])
    assert table["true_label"].to_pylist() == [0, None, None] * 3
    later = [row["created_at"] + timedelta(seconds=1) for row in rows]
    assert table["observed_at"].to_pylist()[::3] == later[::3]
    assert pa.types.is_int8(table.schema.field("true_label").type)


def test_texts_of_a_late_version_are_found(uri, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "ROWS_PER_CHUNK", 4)
    rows = [logged(n, {"rate": n / 7, ":odd": 1.0}) for n in range(9)]
    rows += [logged(n, {"rate": "high", "é": None}, "2") for n in range(9, 12)]
    table = exported(uri, rows, tmp_path)
    assert table.schema.field("rate").type == pa.string()
    assert table["rate"].to_pylist() == [str(n / 7) for n in range(9)] + ["high"] * 3
    assert table[":odd"].to_pylist() == [1.0] * 9 + [None] * 3
    assert table["é"].null_count == 12


def test_labels_inserted_by_hand_may_have_a_zone(sqlite_uri, tmp_path):
    engine = connect(sqlite_uri)
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(predictions.insert(), [logged(0, {"V1": 1.0})])
        connection.execute(
            sa.text(
                "INSERT INTO ground_truth (prediction_id, label, observed_at, recorded_at) "
                "VALUES ('000000', 1, '2025-01-02T02:00:00+02:00', '2025-01-02')"
            )
        )
    engine.dispose()
    export(sqlite_uri, tmp_path / "out.parquet", None, None)
    table = pa.parquet.read_table(tmp_path / "out.parquet")
    assert table["observed_at"].to_pylist() == [datetime(2025, 1, 2, tzinfo=UTC)]


def test_decoded_numbers_are_those_that_were_encoded():
    random = np.random.default_rng(7)
    numbers = random.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64)
    numbers = numbers[np.isfinite(numbers)]
    subnormal = random.integers(1, 2**52, 1_000, dtype=np.uint64).view(np.float64)
    numbers = np.concatenate([numbers, subnormal, random.normal(size=10_000), [0.0, -0.0]])
    rows = pa.array([f'{{"x":{number!r}}}' for number in numbers.tolist()])
    with FeatureDecoder() as decoder:
        (decoded,) = decoder.numbers(rows, ["x"])
    assert (decoded.to_numpy().view(np.uint64) == numbers.view(np.uint64)).all()
