"""A table of few integers: most rows equal another, and are different people."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from steps.data.fingerprints import RowFingerprints
from steps.data.row_keys import ROW_KEY
from steps.monitoring.retraining_data import LabelledPredictions, append_new_rows, base_rows
from tests.support.monitoring import START
from tests.support.tables import load, load_frame

pytestmark = pytest.mark.quick

FEATURES = [f"n{i}" for i in range(5)]


def customers(count: int, seed: int) -> pd.DataFrame:
    """Customers with five small integers, 6 % of them positive."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({name: random.poisson(0.9, count) for name in FEATURES})
    odds = -4.2 + 0.6 * frame["n0"] + 0.6 * frame["n1"]
    return frame.assign(Class=(random.random(count) < 1 / (1 + np.exp(-odds))).astype(int))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_frame(customers(20_000, 1), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    return load_frame(customers(20_000, 2), tmp_path_factory.mktemp("fresh"))


def test_rows_are_kept_with_their_rate(base):
    description = base.description
    assert (description.equal_rows, description.duplicates) == ("keep", 0)
    assert sum(description.rows.values()) == 20_000
    rates = [description.positives[name] / rows for name, rows in description.rows.items()]
    assert max(rates) - min(rates) < 0.001
    assert description.repeated_in_test > 0.95


def test_dropping_would_change_the_rate(tmp_path):
    dropped = load_frame(customers(20_000, 1), tmp_path, duplicates="drop").description
    before, after = dropped.positive_rates
    assert dropped.duplicates > 15_000
    assert after > 3 * before


def test_fresh_rows_are_unseen(base, fresh):
    seen = RowFingerprints.of(base, refitted=True)
    assert seen.unseen(fresh, fresh.test, FEATURES).all()
    by_value = RowFingerprints(seen.hashes, seen.rows, seen.until)
    assert by_value.unseen(fresh, fresh.test, FEATURES).mean() < 0.05


def test_rows_of_the_same_table_are_recognised(base, tmp_path):
    again = load_frame(customers(20_000, 1), tmp_path, seed=7)
    seen = RowFingerprints.of(base, refitted=True)
    unseen = seen.unseen(again, again.test, FEATURES)
    # With another seed, a fifth of the test rows were test rows before.
    assert unseen.mean() == pytest.approx(0.2, abs=0.03)
    assert seen.unseen(base, base.test, FEATURES).all()


def test_retraining_adds_every_prediction_and_knows_the_rows_of_its_base(base, tmp_path):
    rows = base.all_rows().assign(**{ROW_KEY: base.all_row_keys()})
    keys = {
        "created_at": [START + timedelta(seconds=i) for i in range(4000)],
        "row_key": np.arange(4000, dtype=np.uint64),
        "entity_id": [None] * 4000,
    }
    logged = LabelledPredictions(customers(4000, 3)[[*FEATURES, "Class"]], pd.DataFrame(keys))
    table, added, _ = append_new_rows(rows, logged, "Time", "id", by_values=False)
    _, added_by_value, _ = append_new_rows(rows, logged, "Time", "id", by_values=True)
    assert added == 4000
    assert added_by_value < 1000
    table.to_parquet(tmp_path / "retraining.parquet", index=False)
    splits = load(str(tmp_path / "retraining.parquet"), tmp_path)
    assert splits.names == FEATURES
    seen = RowFingerprints.of(base, refitted=True)
    unseen = seen.unseen(splits, splits.test, FEATURES)
    expected = (4000 + 0.2 * 20_000) / 24_000
    assert unseen.mean() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("has_time", [True, False])
def test_retraining_keeps_base_rows_that_differ_in_a_left_out_column(tmp_path, has_time):
    rows = customers(400, 1).assign(Class=np.arange(400) % 2, code=[f"c{i}" for i in range(400)])
    if has_time:
        rows["Time"] = np.arange(400) // 4
    base = load_frame(rows, tmp_path, duplicates="drop")
    assert (base.names, base.description.equal_rows) == (FEATURES, "drop")
    table, parameters = base_rows(base, "ab" * 16)
    assert parameters == {"duplicates": "keep"}
    file, again = tmp_path / "retraining.parquet", tmp_path / "again"
    again.mkdir()
    table.to_parquet(file, index=False)
    retrained = load(str(file), again, **parameters)
    assert sum(retrained.description.rows.values()) == len(table) == 400
    seen = RowFingerprints.of(base, refitted=True)
    repeated = RowFingerprints.of(retrained, refitted=True)
    assert repeated.unseen(retrained, retrained.test, FEATURES).all()
    assert seen.unseen(retrained, retrained.training, FEATURES).mean() < 0.5
