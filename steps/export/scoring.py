"""Scores of splits by portable scorers."""

import numpy as np

from serving.model.scorer import PortableScorer
from steps.data.splits import Split
from steps.evaluation.metrics import Floats


def scores_of(scorer: PortableScorer, rows: Split) -> Floats:
    """Return the scorer's probabilities of class 1, shape (n_rows,), computed in batches.

    Raises:
        InputError: A feature is absent or has an invalid value, whose row number counts from the
            start of its batch.
    """
    return np.concatenate([scorer.score(batch) for batch in rows.batches()])
