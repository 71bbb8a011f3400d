"""The PSI of shares."""

import numpy as np
import pandas as pd
import pytest
from evidently.legacy.calculations.stattests import psi_stat_test
from evidently.legacy.core import ColumnType

from steps.evaluation.stability import psi_of_shares

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "counts",
    [
        ([10, 20, 70], [10, 20, 70]),
        ([10, 20, 70], [30, 30, 40]),
        ([50, 50, 0], [20, 40, 40]),
        ([50, 0, 50], [100_000, 1, 0]),
    ],
)
def test_psi_equals_that_of_evidently(counts):
    reference, current = (pd.Series(np.repeat(range(3), of)) for of in counts)
    expected = psi_stat_test(reference, current, ColumnType.Categorical, 0.1).drift_score
    shares = [np.array(of) / sum(of) for of in counts]
    assert psi_of_shares(*shares) == pytest.approx(expected, rel=1e-12, abs=1e-15)
