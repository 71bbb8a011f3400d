"""Selection on one validation split against selection on folds, for small tables.

    make bench ARGS="folds bank.csv:deposit churn.csv:Churn --seeds 20"

The classifiers of the PyCaret engine compete for each split of a table, twice: by KS on the
validation split after a fit on the training split, and by KS of pooled scores of five stratified
folds of training and validation rows, with the preparation fitted inside each fold. Both winners
are refitted on training and validation rows and judged on the test rows. Differences are those of
the folds to the single split, paired by split.
"""

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pandas as pd
from scipy.stats import t
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from serving.model.probabilities import correct_prior
from steps.data.splits import Split, Splits
from steps.engines.pycaret import classifiers
from steps.evaluation.metrics import Floats, ks
from steps.loading.reading import load_source
from steps.loading.rules import Rules
from steps.loading.session import session
from steps.loading.splitting import split_table
from steps.preparation.fitting import fit_encodings
from steps.preparation.prepared_splits import FittedPreparation, fit_preparations, prepare

FOLDS = 5
METHODS = ("split", "folds")


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="FILE:TARGET...")
@click.option("--seeds", default=20, help="Stratified splits of each table.")
@click.option("--rows", default=0, help="Draw so many rows of each table; 0 for all.")
@click.option("--profile", default="quick", help="Sizes of the classifiers, quick or full.")
@click.option("--output", default="", help="CSV file for the results of each split.")
def main(tables: tuple[str, ...], seeds: int, rows: int, profile: str, output: str) -> None:
    """Print test KS and ROC AUC of both winners, and their differences with 95 % intervals."""
    warnings.filterwarnings("ignore", "X does not have valid feature names")
    warnings.filterwarnings("ignore", "Variables are collinear")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    results = []
    for table in tables:
        for seed in range(seeds):
            results.append(measure(table, seed, rows, profile))
            click.echo(f"{results[-1]}", err=True)
            if output:
                pd.DataFrame(results).to_csv(output, index=False)
    click.echo(summary(pd.DataFrame(results)).to_string())


def measure(table: str, seed: int, rows: int, profile: str) -> dict[str, object]:
    """Return the winners of both methods on one split of a table, and their test metrics."""
    file, _, target = table.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="ml-pipes-folds-") as name:
        folder = Path(name)
        source = _drawn(Path(file), rows, seed, folder) if rows else file
        with session() as opened:
            rules = Rules(target, split="stratified", seed=seed)
            splits = split_table(load_source(opened, str(source), ""), rules, folder)
        fit_preparations(splits, folder, seed)
        first, refit = prepare(splits), prepare(splits, refit=True)
        models = models_of(first.training, profile, seed)
        by_split = {
            name: ks(first.validation.y, fitted_scores(model, first.training, first.validation))
            for name, model in models.items()
        }
        pooled = pooled_scores(splits, models, seed)
        y = splits.training_and_validation().y
        by_folds = {name: ks(y, scores) for name, scores in pooled.items()}
        test = refit.preparation.apply(splits.test)
        found: dict[str, object] = {"table": Path(file).stem, "seed": seed, "rows": len(y)}
        for method, board in zip(METHODS, (by_split, by_folds), strict=True):
            winner = max(board, key=board.__getitem__)
            scores = fitted_scores(models[winner], refit.training, test)
            found |= {
                method: winner,
                f"{method}_ks": ks(test.y, scores),
                f"{method}_auc": float(roc_auc_score(test.y, scores)),
            }
        return found


def _drawn(file: Path, rows: int, seed: int, folder: Path) -> Path:
    """Write some rows of a CSV file to another one."""
    drawn = folder / file.name
    frame = pd.read_csv(file)
    frame.sample(min(rows, len(frame)), random_state=seed).sort_index().to_csv(drawn, index=False)
    return drawn


def models_of(training: Split, profile: str, seed: int) -> dict[str, ClassifierMixin]:
    """Return the classifiers of the PyCaret engine with its preprocessing, by name."""
    weight = float((training.y == 0).sum() / (training.y == 1).sum())
    found = {}
    for name, classifier in classifiers(profile, weight, seed).items():
        if hasattr(classifier, "n_jobs"):
            classifier.set_params(n_jobs=1)
        found[name] = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), classifier)
    return found


def fitted_scores(model: ClassifierMixin, training: Split, rows: Split) -> Floats:
    """Fit a model on prepared rows, and return its scores of other ones, shape (n_rows,)."""
    model.fit(training.X.to_numpy(), training.y)
    scores: Floats = model.predict_proba(rows.X.to_numpy())[:, 1]
    return np.nan_to_num(scores)


def pooled_scores(
    splits: Splits, models: dict[str, ClassifierMixin], seed: int
) -> dict[str, Floats]:
    """Return each model's scores of the training and validation rows, from folds without them."""
    both = splits.training_and_validation()
    pooled = {name: np.empty(len(both.y)) for name in models}
    for training, held_out, places in _folds(splits, both, seed):
        for name, model in models.items():
            scores = fitted_scores(model, training, held_out)
            pooled[name][places] = correct_prior(scores, _weight(model))
    return pooled


def _folds(splits: Splits, both: Split, seed: int) -> Iterator[tuple[Split, Split, "np.ndarray"]]:
    """Yield prepared rows to fit on, prepared rows to score, and the places of the latter."""
    for number, (fitted_on, places) in enumerate(
        StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(both.y, both.y)
    ):
        training, held_out = (
            replace(
                both,
                file=both.file.with_name(f"fold_{number}_{part}.parquet"),
                in_memory=both.frame.iloc[of].reset_index(drop=True),
            )
            for part, of in (("training", fitted_on), ("held_out", places))
        )
        fitted = fit_encodings(splits.features, training.frame, training.y, seed)
        preparation = FittedPreparation(
            splits.features, tuple(fitted.encodings), "ml_pipes_target", fitted.cross_fitted
        )
        yield preparation.apply_to_fitted(training), preparation.apply(held_out), places


def _weight(model: ClassifierMixin) -> float:
    weights = getattr(model[-1], "class_weight", None)
    return float(weights[1]) if weights else 1.0


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return for each table, and for all, how the winners differ on the test rows."""
    lines = {}
    tables = {str(name): group for name, group in results.groupby("table", sort=False)}
    for name, group in (tables | {"all": results}).items():
        line: dict[str, object] = {
            "splits": len(group),
            "other winner": int((group["split"] != group["folds"]).sum()),
        }
        for metric in ("ks", "auc"):
            difference = group[f"folds_{metric}"] - group[f"split_{metric}"]
            error = difference.std(ddof=1) / np.sqrt(len(group))
            width = float(t.ppf(0.975, len(group) - 1)) * error
            line[f"{metric} of split"] = round(group[f"split_{metric}"].mean(), 4)
            mean = difference.mean()
            line[f"{metric} gained"] = f"{mean:+.4f} ({mean - width:+.4f} to {mean + width:+.4f})"
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


if __name__ == "__main__":
    main()
