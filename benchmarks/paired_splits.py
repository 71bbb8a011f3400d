"""Splits of tables, the PyCaret engine's classifiers on them, and differences paired by split."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.packaged_tables import file_and_target
from serving.model.probabilities import correct_prior
from steps.data.splits import Split, Splits
from steps.engines.pycaret import classifiers, compared_classifiers
from steps.evaluation.metrics import Floats, Labels
from steps.loading.reading import load_source
from steps.loading.rules import Rules
from steps.loading.session import session
from steps.loading.splitting import split_table
from steps.preparation.prepared_splits import fit_preparations


def ignore_warnings_of_fits() -> None:
    """Hide what scikit-learn reports of arrays, collinear columns and slow convergence."""
    warnings.filterwarnings("ignore", "X does not have valid feature names")
    warnings.filterwarnings("ignore", "Variables are collinear")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)


@contextmanager
def stratified_splits(table: str, seed: int, rows: int = 0) -> Iterator[Splits]:
    """Open the stratified splits of a table, with their preparations, in a temporary folder.

    Args:
        table: FILE:TARGET, or the name of a table in a package.
        seed: The random state of the drawing, the split and the preparations.
        rows: Draw at most so many rows; 0 for all.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-splits-") as name:
        folder = Path(name)
        file, target = file_and_target(table, folder)
        source = _drawn(file, rows, seed, folder) if rows else file
        with session() as opened:
            rules = Rules(target, split="stratified", seed=seed)
            splits = split_table(load_source(opened, str(source)), rules, folder)
        fit_preparations(splits, folder, seed)
        yield splits


@contextmanager
def temporal_splits(
    data: str, target: str, ends: tuple[float, float, float], negatives: int = 0
) -> Iterator[tuple[Split, ...]]:
    """Open training, validation and test rows from the training and validation splits of a table.

    The pipeline's test split, its last 20 %, is not read. All features must be numbers.

    Args:
        data: The parameter `data`.
        target: The target column.
        ends: The ends of the three, as shares of all rows in the order of time.
        negatives: Draw at most so many rows of class 0 from all of the three; 0 for all.
    """
    with tempfile.TemporaryDirectory(prefix="ml-pipes-splits-") as name, session() as opened:
        rules = Rules(target, split="temporal")
        splits = split_table(load_source(opened, data), rules, Path(name))
        rows = sum(splits.description.rows.values())
        early = splits.training_and_validation
        places = [0, *(int(rows * end) for end in ends)]
        if places[-1] > len(early):
            raise ValueError(f"ends {ends}: the last 20 % are the test split")
        kept = np.sort(_drawn_places(early.y[: places[-1]], negatives))
        yield tuple(
            replace(early, in_memory=early.frame.iloc[of].reset_index(drop=True))
            for of in np.split(kept, np.searchsorted(kept, places[1:-1]))
        )


def _drawn_places(y: Labels, negatives: int) -> "np.ndarray":
    """Return the places of all rows of class 1, and of some or all of class 0."""
    zeros = np.flatnonzero(y == 0)
    if 0 < negatives < len(zeros):
        zeros = np.random.default_rng(0).choice(zeros, negatives, replace=False)
    return np.concatenate([np.flatnonzero(y == 1), zeros])


def _drawn(file: Path, rows: int, seed: int, folder: Path) -> Path:
    """Write some rows of a CSV file to another one."""
    drawn = folder / f"drawn_{file.name}"
    frame = pd.read_csv(file)
    frame.sample(min(rows, len(frame)), random_state=seed).sort_index().to_csv(drawn, index=False)
    return drawn


def models_of(
    training: Split, profile: str, seed: int, *, retired: bool = False
) -> dict[str, Pipeline]:
    """Return the classifiers of the PyCaret engine with its preprocessing, by name.

    Args:
        training: The rows to fit on.
        profile: The sizes of the classifiers.
        seed: The random state of the classifiers.
        retired: Also those that the engine does not compare any more.
    """
    weight = float((training.y == 0).sum() / (training.y == 1).sum())
    offered = (classifiers if retired else compared_classifiers)(profile, weight, seed)
    return {name: with_preprocessing(classifier) for name, classifier in offered.items()}


def with_preprocessing(classifier: ClassifierMixin) -> Pipeline:
    """Return a classifier behind the preprocessing of the PyCaret engine."""
    if hasattr(classifier, "n_jobs"):
        classifier.set_params(n_jobs=1)
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), classifier)


def fitted_scores(model: Pipeline, training: Split, rows: Split) -> Floats:
    """Fit a model on prepared rows, and return its scores of other ones, shape (n_rows,).

    Scores are probabilities at the class distribution of the training rows. One thread computes
    them: more would wait for each other on a few rows.
    """
    with threadpool_limits(1):
        model.fit(training.X.to_numpy(), training.y)
        scores: Floats = model.predict_proba(rows.X.to_numpy())[:, 1]
    weights = getattr(model[-1], "class_weight", None)
    return correct_prior(np.nan_to_num(scores), float(weights[1]) if weights else 1.0)


def mean_with_interval(differences: "pd.Series[float]") -> str:
    """Return the mean of paired differences with its 95 % interval (Student's t), as text."""
    count, mean = len(differences), differences.mean()
    if count < 2:
        return f"{mean:+.4f}"
    width = float(t.ppf(0.975, count - 1)) * differences.std(ddof=1) / np.sqrt(count)
    return f"{mean:+.4f} ({mean - width:+.4f} to {mean + width:+.4f})"
