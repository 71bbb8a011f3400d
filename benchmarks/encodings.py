"""ROC AUC of models by the encoding of categories.

make bench ARGS="encodings bank.csv:deposit churn.csv:Churn --seeds 3"

Each model is fitted on the training rows of a table and judged on its test rows, with the encoding
that the pipeline uses, with target rates for every category, and with a column for every level. H2O
also gets the categories themselves. Differences to the pipeline's encoding are paired by seed.
"""

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import click
import h2o
import pandas as pd
from h2o.estimators import H2OGradientBoostingEstimator, H2ORandomForestEstimator
from h2o.exceptions import H2ODependencyWarning
from lightgbm import LGBMClassifier
from sklearn.base import ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steps.data.splits import Split, Splits
from steps.engines.h2o_server import h2o_server
from steps.evaluation.metrics import Floats
from steps.loading.reading import load_source
from steps.loading.rules import Rules
from steps.loading.session import session
from steps.loading.splitting import split_table
from steps.preparation import fitting
from steps.preparation.prepared_splits import FittedPreparation, fit_preparations, prepare

# The faster way to fetch frames needs polars.
warnings.filterwarnings("ignore", category=H2ODependencyWarning)

PIPELINE, NATIVE = "pipeline", "native"
# The most levels that get a column each.
ENCODINGS = {PIPELINE: fitting.MAX_COLUMNS, "target rates": 0, "one-hot": 1_000_000}


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="FILE:TARGET...")
@click.option("--seeds", default=3, help="Stratified splits of each table.")
def main(tables: tuple[str, ...], seeds: int) -> None:
    """Print the ROC AUC of each model with each encoding, and the differences."""
    rows = []
    with h2o_server(""):
        h2o.no_progress()
        for table in tables:
            for seed in range(seeds):
                rows += [row | {"seed": seed} for row in measure(table, seed)]
                click.echo(f"{table}: seed {seed} done", err=True)
    results = pd.DataFrame(rows).pivot_table(
        index=["table", "model", "seed"], columns="encoding", values="auc"
    )[[*ENCODINGS, NATIVE]]
    click.echo(results.groupby(["table", "model"], sort=False).mean().round(4).to_string())
    differences = results.drop(columns=PIPELINE).sub(results[PIPELINE], axis=0)
    click.echo("\ndifferences to the pipeline's encoding: mean, least, greatest")
    summary = differences.groupby(["table", "model"], sort=False).agg(["mean", "min", "max"])
    click.echo(summary.round(4).to_string())


def measure(table: str, seed: int) -> Iterator[dict[str, object]]:
    """Yield the ROC AUC of each model and encoding on one split of a table."""
    file, _, target = table.rpartition(":")
    facts = {"table": Path(file).stem}
    with tempfile.TemporaryDirectory(prefix="ml-pipes-encodings-") as name:
        folder = Path(name)
        with session() as opened:
            rules = Rules(target, split="stratified", seed=seed)
            splits = split_table(load_source(opened, file, ""), rules, folder)
        for encoding, max_columns in ENCODINGS.items():
            with patch.object(fitting, "MAX_COLUMNS", max_columns):
                fit_preparations(splits, folder, seed)
            prepared = prepare(splits)
            for fitted in folder.glob("*_of_*"):
                fitted.unlink()
            test = prepared.preparation.apply(splits.test)
            for model, auc in areas(prepared.training, test, seed):
                yield facts | {"model": model, "encoding": encoding, "auc": auc}
        for model, auc in h2o_areas(
            native_frame(splits, splits.training), native_frame(splits, splits.test), splits, seed
        ):
            yield facts | {"model": model, "encoding": NATIVE, "auc": auc}


def areas(training: Split, test: Split, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the ROC AUC of each model that is fitted on prepared rows."""
    fill = training.X.median()
    X, test_X = training.X.fillna(fill), test.X.fillna(fill)
    for name, model in classifiers(seed).items():
        model.fit(X.to_numpy(), training.y)
        yield name, roc_auc_score(test.y, model.predict_proba(test_X.to_numpy())[:, 1])
    yield from h2o_areas(h2o_frame(training), h2o_frame(test), training, seed)


def classifiers(seed: int) -> dict[str, ClassifierMixin]:
    """Return the models besides those of H2O, by name."""
    return {
        "LightGBM": LGBMClassifier(
            n_estimators=300, learning_rate=0.05, random_state=seed, verbose=-1
        ),
        "extra trees": ExtraTreesClassifier(300, min_samples_leaf=3, n_jobs=-1, random_state=seed),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }


def h2o_areas(
    training: h2o.H2OFrame, test: h2o.H2OFrame, named: Split | Splits, seed: int
) -> Iterator[tuple[str, float]]:
    """Yield the ROC AUC of each model of H2O, and remove both frames."""
    features = [name for name in training.columns if name != named.target]
    truth = test[named.target].as_data_frame().iloc[:, 0].astype(int)
    for estimator in (
        H2OGradientBoostingEstimator(ntrees=300, learn_rate=0.05, seed=seed),
        H2ORandomForestEstimator(ntrees=100, seed=seed),
    ):
        estimator.train(x=features, y=named.target, training_frame=training)
        scores: Floats = estimator.predict(test)[:, 2].as_data_frame().to_numpy()[:, 0]
        yield f"H2O {estimator.algo}", roc_auc_score(truth, scores)
    h2o.remove_all()


def h2o_frame(rows: Split) -> h2o.H2OFrame:
    """Return prepared rows as H2O reads them."""
    return _imported(rows.frame, rows.target, {})


def native_frame(splits: Splits, rows: Split) -> h2o.H2OFrame:
    """Return raw rows with categories as H2O's own; other kinds are prepared."""
    categories = [feature.name for feature in splits.features if feature.kind == "category"]
    others = [feature for feature in splits.features if feature.kind != "category"]
    fitted = fitting.fit_encodings(others, splits.training.column, splits.training.y, seed=0)
    prepared = FittedPreparation(others, tuple(fitted.encodings), rows.target, {}).apply(rows)
    frame = prepared.frame.assign(**{name: rows.frame[name] for name in categories})
    return _imported(frame, rows.target, dict.fromkeys(categories, "enum"))


def _imported(frame: pd.DataFrame, target: str, types: dict[str, str]) -> h2o.H2OFrame:
    return h2o.H2OFrame(frame, column_types=types | {target: "enum"})


if __name__ == "__main__":
    main()
