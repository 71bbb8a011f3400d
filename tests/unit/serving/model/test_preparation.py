"""The preparation of rows."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from serving.model.features import Feature
from serving.model.preparation import Encoding, Preparation, date_part
from serving.model.schema import FeatureSchema

pytestmark = pytest.mark.quick

FEATURES = [
    Feature("job", "category", nullable=True),
    Feature("age"),
    Feature("at", "date", nullable=True, has_time=True),
    Feature("member", "boolean"),
]
JOB = Encoding(
    "job",
    ("job_1", "job_2"),
    levels={"clerk": (1.0, 0.0), "nurse": (0.0, 1.0)},
    missing=(0.5, 0.5),
    unseen=(0.0, 0.0),
)
AT = Encoding("at", ("at_seconds", "at_weekday"), parts=("seconds", "weekday"))
PREPARATION = Preparation(FEATURES, [JOB, AT])
ROWS = pd.DataFrame(
    {
        "job": ["clerk", "nurse", None, "pilot"] * 3,
        "age": np.arange(12.0),
        "at": ["2024-02-29T12:00:00", None, "1970-01-01", "2000-01-01"] * 3,
        "member": [True, False] * 6,
    }
)


def rows_of(frame):
    schema = FeatureSchema(FEATURES)
    return schema.parse_columns([frame[name].tolist() for name in schema.names])


def test_matrix_has_the_columns_of_each_encoding():
    assert PREPARATION.columns == ["job_1", "job_2", "age", "at_seconds", "at_weekday", "member"]
    thursday, saturday = 3, 5
    np.testing.assert_array_equal(
        PREPARATION.matrix(rows_of(ROWS.head(4))),
        [
            [1, 0, 0, 1709208000, thursday, 1],
            [0, 1, 1, np.nan, np.nan, 0],
            [0.5, 0.5, 2, 0, thursday, 1],
            [0, 0, 3, 946684800, saturday, 0],
        ],
    )


def test_rows_alone_are_prepared_as_in_a_table():
    many = PREPARATION.matrix(FeatureSchema(FEATURES).parse_frame(ROWS))
    few = [PREPARATION.matrix(rows_of(ROWS.iloc[[row]])) for row in range(len(ROWS))]
    np.testing.assert_array_equal(many, np.concatenate(few))
    np.testing.assert_array_equal(many, PREPARATION.matrix(rows_of(ROWS)))


def test_unseen_levels_are_counted():
    assert PREPARATION.count_unseen(rows_of(ROWS)) == {"job": 3}
    assert PREPARATION.count_unseen(FeatureSchema(FEATURES).parse_frame(ROWS)) == {"job": 3}
    assert PREPARATION.count_unseen(rows_of(ROWS.head(3))) == {}


def test_date_parts_equal_those_of_the_calendar():
    random = np.random.default_rng(1)
    seconds = random.integers(-2_000_000_000, 4_000_000_000, 5000)
    times = [datetime(1970, 1, 1) + timedelta(seconds=int(s)) for s in seconds]
    for part, expected in {
        "year": [time.year for time in times],
        "month": [time.month for time in times],
        "day": [time.day for time in times],
        "hour": [time.hour for time in times],
        "weekday": [time.weekday() for time in times],
        "seconds": seconds,
    }.items():
        np.testing.assert_array_equal(date_part(part, seconds * 1e6), expected)
