"""Permutation importance."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from serving.model.features import Feature
from serving.model.manifest import Manifest
from serving.model.scorer import PortableScorer
from steps.candidates import importance
from steps.candidates.importance import permutation_importance
from steps.data.splits import Split
from steps.export.onnx_graphs import linear_graph, write_onnx
from steps.preparation.prepared_splits import prepare
from tests.support.mixed_splits import mixed_splits

pytestmark = pytest.mark.quick

NAMES = ["deciding", "Charges ($)", "noise", "constant"]


def scorer_of(folder, coefficients, features, encodings=()) -> PortableScorer:
    width = len(coefficients)
    write_onnx(linear_graph(np.array(coefficients), 0.0), folder, width, fill=np.zeros(width))
    Manifest("onnx", tuple(features), threshold=0.5, encodings=encodings).write(folder)
    return PortableScorer.load(folder)


def split_of(rows: int, positives: int) -> Split:
    random = np.random.default_rng(1)
    y = np.arange(rows) < positives
    table = pd.DataFrame(random.normal(size=(rows, 4)), columns=NAMES).assign(constant=1.0, y=0)
    table["y"] = random.permutation(y).astype(np.int64)
    table["deciding"] += 3 * table["y"]
    table["Charges ($)"] += table["y"]
    return Split("validation", Path("validation.parquet"), NAMES, "y", in_memory=table)


@pytest.fixture
def scorer(tmp_path) -> PortableScorer:
    return scorer_of(tmp_path, [3.0, 1.0, 0.01, 5.0], map(Feature, NAMES))


def test_deciding_column_is_first_and_noise_is_worth_nothing(scorer):
    found = permutation_importance(scorer, split_of(3000, 600))
    assert list(found["column"][:2]) == ["deciding", "Charges ($)"]
    losses = found.set_index("column")["roc_auc_loss"]
    assert losses["deciding"] > 0.2 > losses["Charges ($)"] > 0.005
    assert abs(losses["noise"]) < 0.001
    assert losses["constant"] == 0


def test_importance_repeats_and_does_not_depend_on_the_sampling(scorer, monkeypatch):
    rows = split_of(30_000, 60)
    y, X = rows.y, rows.X.to_numpy()
    weights = np.array([3.0, 1.0, 0.01, 5.0])
    random = np.random.default_rng(9)
    exact = roc_auc_score(y, X @ weights) - np.mean(
        [
            roc_auc_score(y, np.column_stack([random.permutation(X[:, 0]), X[:, 1:]]) @ weights)
            for _ in range(50)
        ]
    )
    monkeypatch.setitem(importance.MAX_ROWS, "onnx", 1000)
    found = permutation_importance(scorer, rows)
    assert found["rows"].max() == 1000
    # Half of these rows are positive, of all rows 0.2 %.
    assert found["roc_auc_loss"][0] == pytest.approx(exact, abs=0.02)
    pd.testing.assert_frame_equal(found, permutation_importance(scorer, rows))


def test_wide_tables_score_fewer_rows(scorer, monkeypatch):
    monkeypatch.setitem(importance.MAX_ROWS_IN_ALL, "onnx", 800)
    assert set(permutation_importance(scorer, split_of(3000, 600))["rows"]) == {200}
    monkeypatch.setitem(importance.MAX_ROWS_IN_ALL, "onnx", 796)
    assert permutation_importance(scorer, split_of(3000, 600)) is None


def test_columns_of_a_category_change_together(tmp_path):
    splits = mixed_splits(tmp_path)
    prepared = prepare(splits)
    encodings = prepared.preparation.encodings
    weights = [
        float(encoding.feature == "job") * (place + 1)
        for encoding in encodings
        for place, _ in enumerate(encoding.columns)
    ]
    scorer = scorer_of(tmp_path, weights, splits.features, encodings)
    found = permutation_importance(scorer, splits.validation)
    assert sorted(found["column"]) == sorted(splits.names)
    assert found["column"][0] == "job"
    assert (found["roc_auc_loss"][1:] == 0).all()
