"""Samples of a split that keep the rarer class."""

import numpy as np

from steps.data.splits import Split

SEED = 0


def class_sample(rows: Split, size: int) -> tuple[Split, float]:
    """Draw `size` rows without replacement; they keep their order.

    All positives are drawn, but no more than half of the sample unless negatives are too few.

    Args:
        rows: The rows to draw from, more than `size`.
        size: The number of rows to draw, at least 2.

    Returns:
        The sample, in a file of its own, and how much likelier a positive row was drawn than a
        negative one. A model of the sample learns this as if it were the weight of positives.
    """
    counts = np.bincount(rows.y, minlength=2)
    positives = min(counts[1], max(size // 2, size - counts[0]))
    drawn = np.array([size - positives, positives])
    random = np.random.default_rng(SEED)
    places = np.concatenate(
        [
            random.choice(np.flatnonzero(rows.y == label), drawn[label], replace=False)
            for label in (0, 1)
        ]
    )
    shares = drawn / counts
    return rows.subset("sample_of", places), float(shares[1] / shares[0])
