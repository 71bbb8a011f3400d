"""Features that alone nearly give the target away."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from steps.evaluation.leakage import single_auc
from tests.support.tables import load_frame

pytestmark = pytest.mark.quick


def test_suspects_of_every_kind_are_described(table, tmp_path):
    random = np.random.default_rng(0)
    y = table["Class"]
    table["falling"] = random.random(400) - 2 * y
    table["known only if 1"] = y.where(y == 1) + random.random(400)
    table["outcome"] = np.where(y == 1, "lost", np.where(random.random(400) < 0.5, "kept", "new"))
    table["closed.at"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(
        y * 24 + table["Time"] % 9, "h"
    )
    table["noise"] = random.choice(list("abcdefgh"), 400)
    suspects = load_frame(table, tmp_path).description.leakage_suspects
    assert list(suspects) == ["falling", "known only if 1", "outcome", "closed.at"]
    assert min(suspects.values()) >= 0.995


def test_distinct_texts_are_no_suspects():
    y = np.arange(1000) % 2
    assert single_auc(pa.array([f"c{i}" for i in range(1000)]), y) < 0.6


def test_auc_of_numbers_is_the_better_direction():
    random = np.random.default_rng(1)
    y, values = random.integers(0, 2, 1000), random.normal(size=1000)
    values -= y
    assert single_auc(pa.array(values), y) == pytest.approx(1 - roc_auc_score(y, values))
