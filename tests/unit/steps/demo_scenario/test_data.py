"""The rows of the demo's stages."""

import numpy as np
import pytest

from steps.demo_scenario.data import TIME, read_demo_rows

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def rows():
    return read_demo_rows()


def test_unchanged_traffic_is_as_old_as_the_test_split(rows):
    test_split = rows.training.tail(len(rows.training) // 5)
    times, of_test = rows.unchanged[TIME], test_split[TIME]
    assert len(times) == pytest.approx(len(of_test), rel=0.01)
    # Both are drawn from one period.
    quantiles = [0, 0.5, 1]
    np.testing.assert_allclose(times.quantile(quantiles), of_test.quantile(quantiles), rtol=0.02)


def test_no_row_is_in_two_stages(rows):
    stages = (rows.training, rows.unchanged, rows.drifted, rows.drifted_later)
    indices = np.concatenate([stage.index for stage in stages])
    assert len(np.unique(indices)) == len(indices)
    assert rows.unchanged[TIME].max() <= rows.drifted[TIME].min()
    assert rows.drifted[TIME].max() <= rows.drifted_later[TIME].min()
