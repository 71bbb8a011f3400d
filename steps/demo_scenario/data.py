"""Rows of the demo: training data, then unchanged and drifted traffic from the real sample."""

from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from steps.loading.reading import read_source

MODEL_NAME = "demo-credit-card-fraud"
TARGET, TIME = "Class", "Time"
# Shares of the rows, in time order, at which the early rows and the drifted traffic end. The
# remaining rows arrive during the retraining and after it.
STAGE_ENDS = (0.6, 0.8)
# Unchanged traffic, as a share of all rows. As the real data drift, it is half of the rows in a
# period whose other half becomes the test split, the last 20 % of the training rows.
UNCHANGED = 0.1
# Drift: these features move towards their mean over negative rows ...
FADING_FEATURES, FADING_FACTOR = ("V14", "V4", "V12", "V10", "V11", "V17", "V3"), 0.05
# ... and these are shifted.
SHIFTED_FEATURES = ("V1", "V2", "V5", "V6", "V7", "V8", "V9", "V13", "V15", "V16")
SHIFT = 1.5


@dataclass(frozen=True)
class DemoRows:
    """Rows of each stage of the demo, each in time order."""

    training: pd.DataFrame
    unchanged: pd.DataFrame
    drifted: pd.DataFrame
    drifted_later: pd.DataFrame


def read_demo_rows() -> DemoRows:
    """Divide the real sample into the stages of the demo."""
    sample = read_source("sample").to_pandas()
    rows = sample.drop_duplicates().sort_values(TIME, kind="stable").reset_index(drop=True)
    bounds = [0, *(int(share * len(rows)) for share in STAGE_ENDS), len(rows)]
    early, drifted, later = (rows.iloc[start:end] for start, end in pairwise(bounds))
    count = int(UNCHANGED * len(rows))
    test_period = early.tail(2 * count)
    unchanged = test_period.sample(count, random_state=0).sort_index()
    training = early.drop(unchanged.index)
    negative_means = training[training[TARGET] == 0].mean()
    return DemoRows(
        training,
        unchanged,
        _with_drift(drifted, negative_means),
        _with_drift(later, negative_means),
    )


def _with_drift(rows: pd.DataFrame, negative_means: "pd.Series[float]") -> pd.DataFrame:
    faded = {
        name: negative_means[name] + FADING_FACTOR * (rows[name] - negative_means[name])
        for name in FADING_FEATURES
    }
    return rows.assign(**faded, **{name: rows[name] + SHIFT for name in SHIFTED_FEATURES})
