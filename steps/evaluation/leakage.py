"""Features that alone nearly give the target away."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import roc_auc_score

from serving.model.features import Feature
from steps.evaluation.metrics import Floats, Labels
from steps.evaluation.parquet_columns import ParquetColumns

SUSPECT_AUC = 0.995
# The AUC does not depend on the share of the classes, and hardly on further rows.
MAX_ROWS_PER_CLASS = 20_000
FOLDS = 5
# A level's rate counts the rate of all rows as so many rows of its own.
PRIOR_ROWS = 1
MAX_COLUMNS_NAMED = 5


def single_aucs(training: Path, features: list[Feature], target: str) -> dict[str, float]:
    """Return the AUC in the training rows of each feature on its own.

    Args:
        training: the Parquet file of the training rows.
        features: the features.
        target: the name of the target.
    """
    columns = ParquetColumns(training)
    y: Labels = columns[target].to_numpy()
    rows = _sampled_rows(y)
    return {
        feature.name: single_auc(columns[feature.name].take(pa.array(rows)), y[rows])
        for feature in features
    }


def leakage_suspects(aucs: dict[str, float]) -> dict[str, float]:
    """Return those of the AUCs of single features that are suspiciously good."""
    return {name: auc for name, auc in aucs.items() if auc >= SUSPECT_AUC}


def single_auc(values: pa.Array, y: Labels) -> float:
    """Return the AUC of one column, by its order in either direction or by the rates of levels.

    Args:
        values: numbers, booleans, timestamps or texts, shape (n_rows,).
        y: the target, shape (n_rows,).
    """
    if pa.types.is_string(values.type):
        return float(roc_auc_score(y, _rates_of_other_folds(values, y)))
    aucs = [roc_auc_score(y, scores) for scores in _with_missing_on_either_side(values)]
    return float(max(max(auc, 1 - auc) for auc in aucs))


def separating_columns(features: pd.DataFrame, y: Labels) -> list[str]:
    """Return the columns that separate the classes on their own.

    Args:
        features: raw features, shape (n_rows, n_features).
        y: the target, shape (n_rows,).
    """
    return [
        str(name)
        for name, values in features.items()
        if single_auc(pa.Array.from_pandas(values), y) == 1
    ]


def describe_leak(features: pd.DataFrame, y: Labels) -> str:
    """Describe what a KS of 1 on these rows hints at, for people."""
    names = separating_columns(features, y)[:MAX_COLUMNS_NAMED]
    if not names:
        return "KS is 1.0, although no single column separates the classes: check for a leak"
    subject = (
        f"column {names[0]} alone separates"
        if len(names) == 1
        else f"each of the columns {', '.join(names)} alone separates"
    )
    return (
        f"KS is 1.0: {subject} the classes, which hints at a leak; drop columns that are not "
        "known before the outcome"
    )


def _sampled_rows(y: Labels) -> npt.NDArray[np.int64]:
    random = np.random.default_rng(0)
    of_class = [random.permutation(np.flatnonzero(y == label)) for label in (0, 1)]
    return np.sort(np.concatenate([rows[:MAX_ROWS_PER_CLASS] for rows in of_class]))


def _with_missing_on_either_side(values: pa.Array) -> Iterator[Floats]:
    if pa.types.is_temporal(values.type):
        # Not safe: microseconds are rounded before 1685 and after 2255.
        values = values.cast(pa.int64()).cast(pa.float64(), safe=False)
    numbers = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    missing = np.isnan(numbers)
    ranks = np.unique(numbers[~missing], return_inverse=True)[1].astype(np.float64)
    for side in (-1.0, len(numbers) + 1.0):
        scores = np.full(len(numbers), side)
        scores[~missing] = ranks
        yield scores
        if not missing.any():
            return


def _rates_of_other_folds(values: pa.Array, y: Labels) -> Floats:
    """Return the target rate of each row's level in the rows of other folds."""
    encoded = values.dictionary_encode()
    n_levels = len(encoded.dictionary) + 1
    levels = pc.fill_null(encoded.indices, n_levels - 1).to_numpy(zero_copy_only=False)
    folds = np.random.default_rng(0).permutation(len(y)) % FOLDS
    cells = levels.astype(np.int64) * FOLDS + folds
    shape = (n_levels, FOLDS)
    rows = np.bincount(cells, minlength=n_levels * FOLDS).reshape(shape)
    positives = np.bincount(cells, weights=y, minlength=n_levels * FOLDS).reshape(shape)
    others = rows.sum(axis=1, keepdims=True) - rows
    their_positives = positives.sum(axis=1, keepdims=True) - positives
    rates: Floats = (their_positives + PRIOR_ROWS * y.mean()) / (others + PRIOR_ROWS)
    return rates[levels, folds]
