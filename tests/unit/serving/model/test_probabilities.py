"""Calibration of probabilities."""

import numpy as np
import pytest

from serving.model.probabilities import Calibration, calibrated

pytestmark = pytest.mark.quick

STEP = 2.0**-53  # between the probabilities just below 1
EDGES = np.array(
    [0.0, 5e-324, 1e-300, 1e-15, 2e-15, 0.3, 1 - 20 * STEP, 1 - 9 * STEP, 1 - 2 * STEP, 1 - STEP, 1]
)


def test_calibration_is_a_line_on_the_log_odds():
    probability = np.linspace(0.001, 0.999, 1000)
    log_odds = 1.7 * np.log(probability / (1 - probability)) - 2.5
    found = calibrated(probability, Calibration(1.7, -2.5))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-log_odds)), rtol=1e-13)
    assert calibrated(probability, None) is probability


def test_probabilities_near_0_and_1_stay_apart():
    found = calibrated(EDGES, Calibration(0.5, -1.0))
    assert (np.diff(found) > 0).all()
    assert found[[0, -1]].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("slope", [0.01, 0.5, 1.0, 2.0, 40.0])
@pytest.mark.parametrize("intercept", [-700.0, -1.0, 3.0, 700.0])
def test_order_is_never_reversed(slope, intercept):
    probability = np.sort(np.concatenate([EDGES, np.geomspace(1e-30, 1, 1000)]))
    found = calibrated(probability, Calibration(slope, intercept))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_score_does_not_depend_on_other_rows():
    probability = np.random.default_rng(0).random(500)
    calibration = Calibration(0.7, 1.3)
    together = calibrated(probability, calibration)
    alone = [calibrated(probability[[row]], calibration)[0] for row in range(len(probability))]
    assert together.tolist() == alone
