"""Permutation importance of the user's columns: the loss of ROC AUC when one tells nothing.

Breiman 2001, "Random Forests"; Fisher, Rudin and Dominici 2019, "All Models are Wrong, but Many
are Useful". A column gets the values of other rows, with all that the model derives from it. Two
columns that say the same share their importance, and may both seem unimportant.
"""

from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from serving.model.scorer import PortableScorer
from steps.data.splits import Split
from steps.evaluation.metrics import Labels

LOSS = "roc_auc_loss"
# The rows to score for each column and for all of them, by kind of export: a MOJO takes longer.
# Never by the clock: the same model gets the same table on any machine.
MAX_ROWS = {"onnx": 10_000, "mojo": 2_000}
MAX_ROWS_IN_ALL = {"onnx": 100_000, "mojo": 30_000}
# With fewer rows for each column, a loss would be chance.
MIN_ROWS = 200
# Few positives are scored so many times, each time with values of other rows.
MAX_COPIES = 10
SEED = 0


def permutation_importance(scorer: PortableScorer, rows: Split) -> pd.DataFrame | None:
    """Return the importance of each feature, the largest first.

    Args:
        scorer: The model.
        rows: Raw rows that it was not fitted on.

    Returns:
        A row for each feature: `column`, `roc_auc_loss`, and `rows`, the number of scored rows.
        None if the features are too many to score 200 rows for each.
    """
    if (most := _most_rows_for_each(scorer)) < MIN_ROWS:
        return None
    random = np.random.default_rng(SEED)
    count = min(most, len(rows))
    chosen = _chosen_rows(rows.y, count, random)
    # From all rows: in the chosen ones, a class may be more frequent.
    others = random.integers(len(rows), size=(len(scorer.names), len(chosen)))
    needed, places = np.unique(np.vstack([chosen, others]), return_inverse=True)
    matrix = scorer.preparation.matrix(scorer.schema.parse_frame(rows.take(needed)))
    in_matrix, *of_others = places.reshape(-1, len(chosen))
    y, original = rows.y[chosen], matrix[in_matrix]
    auc = roc_auc_score(y, scorer.score_matrix(original))
    losses = []
    for columns, others_of_column in zip(_columns_of_features(scorer), of_others, strict=True):
        changed = original.copy()
        changed[:, columns] = matrix[others_of_column, columns]
        losses.append(auc - roc_auc_score(y, scorer.score_matrix(changed)))
    found = pd.DataFrame({"column": scorer.names, LOSS: losses, "rows": len(chosen)})
    return found.sort_values(LOSS, ascending=False, kind="stable", ignore_index=True)


def _most_rows_for_each(scorer: PortableScorer) -> int:
    kinds = scorer.manifest.model_kinds
    return min(min(MAX_ROWS[kind], MAX_ROWS_IN_ALL[kind] // len(scorer.names)) for kind in kinds)


def _chosen_rows(y: Labels, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return at most `count` rows: half of the rarer class, repeated if they are few.

    The ROC AUC does not depend on the share of the classes.
    """
    of_class = [random.permutation(np.flatnonzero(y == label)) for label in (0, 1)]
    rare, frequent = sorted(of_class, key=len)
    rare = rare[: count // 2]
    rare = np.tile(rare, int(np.clip(count // 2 // len(rare), 1, MAX_COPIES)))
    return np.concatenate([rare, frequent[: count - len(rare)]])


def _columns_of_features(scorer: PortableScorer) -> list[slice]:
    """Return where the columns of each feature are in the matrix."""
    widths = [len(encoding.columns) for encoding in scorer.preparation.encodings]
    return [slice(*ends) for ends in pairwise(accumulate(widths, initial=0))]
