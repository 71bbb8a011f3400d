"""Synthetic windows of predictions, and what they are compared with."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from serving.model.features import Feature
from serving.model.manifest import Manifest
from steps.data.reference import Reference
from steps.monitoring.window import Window

FEATURES = ["V1", "V2", "V3"]
START = datetime(2026, 1, 1, tzinfo=UTC)


def feature_table(count: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(count)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=FEATURES)
    return frame.assign(V1=frame["V1"] + shift)


def scored_window(count: int, shift: float = 0.0, positives: int = 40) -> Window:
    """Predictions one minute apart; scores that tell positives from the others well."""
    features = feature_table(count, shift)
    label = (np.arange(count) < positives).astype(int)
    random = np.random.default_rng(0)
    score = expit(random.normal(size=count) - 4 + 3 * label)
    moments = pd.Series([START + timedelta(minutes=i) for i in range(count)])
    scored = pd.DataFrame({"created_at": moments, "by_champion": True, "score": score})
    labelled = scored.assign(
        threshold=0.1,
        true_label=label,
        observed_at=moments + pd.Timedelta(hours=3),
        recorded_at=moments + pd.Timedelta(hours=4),
    )
    return Window(scored.assign(alert=score >= 0.1, labelled=True), features, labelled)


@pytest.fixture(scope="module")
def reference() -> Reference:
    scores = expit(np.random.default_rng(1).normal(size=3000) - 4)
    return Reference(feature_table(5000), scores)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    features = tuple(Feature(name) for name in FEATURES)
    extremes = feature_table(5000).agg(["min", "max"])
    columns = {name: {"quantiles": extremes[name].tolist()} for name in FEATURES}
    return Manifest("onnx", features, 0.1, reference={"columns": columns})
