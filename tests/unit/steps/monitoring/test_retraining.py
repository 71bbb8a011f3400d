"""Retraining table and its settings."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from serving.log.queries import LabelCounts
from steps.data.fingerprints import row_hashes
from steps.monitoring.retraining import too_few_labels
from steps.monitoring.retraining_data import (
    LabelledPredictions,
    append_new_rows,
    inherited_parameters,
)
from tests.support.monitoring import START


@pytest.mark.quick
class TestAppend:
    BASE = pd.DataFrame({"Time": [1.0, 5.0], "V1": [0.1, 0.2], "Class": [0, 1]})

    def labelled(self, entity_id=(None,) * 3, **columns) -> LabelledPredictions:
        keys = {
            "created_at": pd.to_datetime([START + timedelta(seconds=i) for i in range(3)]).astype(
                "datetime64[us, UTC]"
            ),  # as in the log
            "row_key": np.uint64([11, 12, 13]),
            "entity_id": list(entity_id),
        }
        rows = {"V1": [0.3, 0.4, 0.5], "Class": [0, 1, 0]} | columns
        return LabelledPredictions(pd.DataFrame(rows), pd.DataFrame(keys))

    def append(self, base, labelled, by_values=True, id_column="id"):
        return append_new_rows(base, labelled, "Time", id_column, by_values)[:2]

    def test_predictions_are_appended_in_time(self):
        whole, new = self.append(self.BASE, self.labelled())
        assert new == 3
        assert whole["V1"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
        assert whole["Time"].tolist() == [1.0, 5.0, 6.0, 7.0, 8.0]

    def test_repeated_rows_are_appended_once(self):
        whole, new = self.append(self.BASE, self.labelled(V1=[0.2, 0.9, 0.9], Class=[1, 0, 0]))
        assert new == 1
        assert whole["V1"].tolist() == [0.1, 0.2, 0.9]

    def test_equal_values_without_id_are_independent(self):
        base = self.BASE.drop(columns="Time").assign(_ml_pipes_row=np.uint64([8, 9]))
        labelled = self.labelled(V1=[0.2, 0.9, 0.9], Class=[1, 0, 0])
        whole, new = self.append(base, labelled, by_values=False)
        assert new == 3
        assert whole["_ml_pipes_row"].nunique() == 5
        again, _ = self.append(base, labelled, by_values=False)
        assert whole["_ml_pipes_row"].equals(again["_ml_pipes_row"])

    def test_equal_values_of_one_entity_are_one_record(self):
        base = self.BASE.drop(columns="Time")
        labelled = self.labelled(V1=[0.9] * 3, Class=[0] * 3, entity_id=["a", "a", "b"])
        assert self.append(base, labelled, by_values=False)[1] == 2
        with_ids = base.assign(id=["a", "c"]).assign(V1=0.9, Class=0)
        whole, new = self.append(with_ids, labelled)
        assert new == 1
        assert whole["id"].tolist() == ["a", "c", "b"]

    def test_features_may_be_called_like_columns_of_the_log(self):
        names = ["created_at", "prediction_id", "entity_id", "id", "score"]
        base = pd.DataFrame({name: [1.0, 2.0] for name in names} | {"Class": [0, 1]})
        base = base.assign(customer=["a", "b"])
        rows = pd.DataFrame({name: [1.0, 2.0, 3.0] for name in names} | {"Class": [0, 1, 0]})
        labelled = replace(self.labelled(entity_id=["a", "c", "c"]), rows=rows)
        whole, new = self.append(base, labelled, id_column="customer")
        assert new == 2  # the first is the first of the base
        assert whole["customer"].tolist() == ["a", "b", "c", "c"]
        for name in names:
            assert whole[name].tolist() == [1.0, 2.0, 2.0, 3.0]

    def test_timestamps_stay_timestamps(self):
        earlier = self.BASE.assign(Time=pd.to_datetime(["2025-01-01", "2025-01-02"]))
        whole, _ = self.append(earlier, self.labelled())
        assert whole["Time"].iloc[2] == pd.Timestamp("2026-01-01")
        later = self.BASE.assign(Time=pd.to_datetime(["2027-01-01", "2027-01-02"]))
        whole, _ = self.append(later, self.labelled())
        assert whole["Time"].is_monotonic_increasing
        assert whole["Time"].iloc[2] == pd.Timestamp("2027-01-02 00:00:01")

    @pytest.mark.parametrize("year", [None, 2025, 2027])
    @pytest.mark.parametrize(
        ("unit", "zone"), [("s", None), ("us", None), ("ns", None), ("ns", "Europe/Berlin")]
    )
    def test_predictions_keep_their_times(self, year, unit, zone):
        base = self.BASE
        if year:
            times = pd.to_datetime([f"{year}-01-01", f"{year}-01-02"]).tz_localize(zone)
            base = base.assign(Time=times.as_unit(unit))
        every = self.labelled()
        later = LabelledPredictions(every.rows[1:], every.keys[1:])
        before = append_new_rows(base, later, "Time", "id")
        # The first prediction gets its label late.
        after = append_new_rows(base, every, "Time", "id", times_from=before.times_from)
        assert (before.added, after.added) == (2, 3)
        assert after.table.dtypes.equals(base.dtypes)
        assert set(row_hashes(before.table)) < set(row_hashes(after.table))
        assert after.table["Time"].is_monotonic_increasing
        first = base["Time"].max() + (pd.Timedelta(seconds=1) if year else 1.0)
        start = pd.Timestamp(START) if zone else pd.Timestamp(START).tz_localize(None)
        late = start if year == 2025 else first
        assert after.table["Time"].iloc[2] == late

    def test_table_without_time_column(self):
        whole, _ = self.append(self.BASE.drop(columns="Time"), self.labelled())
        assert list(whole.columns) == ["V1", "Class"]


@pytest.mark.quick
def test_retraining_inherits_parameters_except_forced_promotion():
    made_with = {"engines": "pycaret", "seed": "7", "promotion": "always"}
    assert inherited_parameters(made_with) == {"engines": "pycaret", "seed": "7"}
    assert inherited_parameters(made_with | {"promotion": "better"})["promotion"] == "better"


@pytest.mark.quick
def test_retraining_needs_labels_of_both_classes():
    assert too_few_labels(LabelCounts(5, 5)) == ""
    assert too_few_labels(LabelCounts(100, 0)) == (
        "100 positive and 0 negative labels are new; at least 5 of each class are required"
    )
    assert too_few_labels(LabelCounts(4, 100))
    assert too_few_labels(LabelCounts(0, 0))
