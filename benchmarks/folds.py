"""Selection on one validation split against selection on folds, for small tables.

    make bench ARGS="folds bank.csv:deposit titanic --seeds 20"

The classifiers of the PyCaret engine compete for each split of a table, twice: by KS on the
validation split after a fit on the training split, and by KS of pooled scores of five stratified
folds of training and validation rows, with the preparation fitted inside each fold. Both winners
are refitted on training and validation rows and judged on the test rows. Differences are those of
the folds to the single split, paired by split.
"""

from collections.abc import Iterator
from dataclasses import replace

import click
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from benchmarks.packaged_tables import name_of
from benchmarks.paired_splits import (
    fitted_scores,
    ignore_warnings_of_fits,
    mean_with_interval,
    models_of,
    stratified_splits,
)
from steps.data.splits import Split, Splits
from steps.evaluation.metrics import Floats, ks
from steps.preparation.fitting import fit_encodings
from steps.preparation.prepared_splits import FittedPreparation, prepare

FOLDS = 5
METHODS = ("split", "folds")


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option("--seeds", default=20, help="Stratified splits of each table.")
@click.option("--rows", default=0, help="Draw so many rows of each table; 0 for all.")
@click.option("--profile", default="quick", help="Sizes of the classifiers, quick or full.")
@click.option("--output", default="", help="CSV file for the results of each split.")
def main(tables: tuple[str, ...], seeds: int, rows: int, profile: str, output: str) -> None:
    """Print test KS and ROC AUC of both winners, and their differences with 95 % intervals."""
    ignore_warnings_of_fits()
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
    with stratified_splits(table, seed, rows) as splits:
        first, refit = prepare(splits), prepare(splits, refit=True)
        models = models_of(first.training, profile, seed)
        by_split = {
            name: ks(first.validation.y, fitted_scores(model, first.training, first.validation))
            for name, model in models.items()
        }
        pooled = pooled_scores(splits, models, seed)
        y = splits.training_and_validation.y
        by_folds = {name: ks(y, scores) for name, scores in pooled.items()}
        test = refit.preparation.apply(splits.test)
        found: dict[str, object] = {"table": name_of(table), "seed": seed, "rows": len(y)}
        for method, board in zip(METHODS, (by_split, by_folds), strict=True):
            winner = max(board, key=board.__getitem__)
            scores = fitted_scores(models[winner], refit.training, test)
            found |= {
                method: winner,
                f"{method}_ks": ks(test.y, scores),
                f"{method}_auc": float(roc_auc_score(test.y, scores)),
            }
        return found


def pooled_scores(splits: Splits, models: dict[str, Pipeline], seed: int) -> dict[str, Floats]:
    """Return each model's scores of the training and validation rows, from folds without them."""
    both = splits.training_and_validation
    pooled = {name: np.empty(len(both.y)) for name in models}
    for training, held_out, places in _folds(splits, both, seed):
        for name, model in models.items():
            pooled[name][places] = fitted_scores(model, training, held_out)
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
        fitted = fit_encodings(splits.features, training.column, training.y, seed)
        preparation = FittedPreparation(
            splits.features, tuple(fitted.encodings), "ml_pipes_target", fitted.cross_fitted
        )
        yield preparation.apply_to_fitted(training), preparation.apply(held_out), places


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
            line[f"{metric} of split"] = round(group[f"split_{metric}"].mean(), 4)
            line[f"{metric} gained"] = mean_with_interval(difference)
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


if __name__ == "__main__":
    main()
