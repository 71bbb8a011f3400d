"""The population stability index (PSI) of two distributions over the same bins."""

from collections.abc import Sequence

import numpy as np

from steps.evaluation.metrics import Floats

# An empty bin counts as this share, or as a millionth of a smaller one: as Evidently does.
EMPTY, OF_SMALLEST = 1e-4, 1e-6


def psi_of_shares(reference: Sequence[float], current: Sequence[float]) -> float:
    """Return the sum over all bins of (c - r) ln(c / r), for their shares c and r.

    Bins that are empty in both samples must be left out.
    """
    r, c = _filled(reference), _filled(current)
    return float(np.sum((c - r) * np.log(c / r)))


def _filled(shares: Sequence[float]) -> Floats:
    values = np.array(shares, dtype=np.float64)
    smallest = values[values > 0].min()
    return np.where(values > 0, values, smallest * OF_SMALLEST if smallest <= EMPTY else EMPTY)
