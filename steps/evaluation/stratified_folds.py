"""Stratified folds for what is learned and judged on the same rows."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

from steps.evaluation.metrics import Labels

FOLDS, SEED = 5, 0
Places = npt.NDArray[np.intp]


def stratified_folds(y: Labels) -> Iterator[tuple[Places, Places]]:
    """Yield the places of the rows to learn from, and of those to judge, for each of five folds.

    The folds are the same for the same labels.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    yield from folds.split(y, y)
