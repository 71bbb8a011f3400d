"""The fixed parameters of the PyCaret engine's classifiers against a search for better ones.

    make bench ARGS="search bank.csv:deposit titanic creditcard --seeds 10 --rows 6000"

The classifiers compete on each split of a table. With a search, the best of those with a search
space share a number of trials (Optuna's TPE, fixed seed); the best parameters of each join the
others. Three rules choose from those that compete: the highest KS on the validation split, the
highest ROC AUC there, and the pipeline's ensemble of the best five by KS. What they choose is
refitted on training and validation rows and judged on the test rows. Differences are those to the
fixed parameters, paired by split.

`creditcard` is divided by time into three training, validation and test splits, all of them in the
first 80 % of its rows: the others are the pipeline's test split. `--rows` draws from its rows of
class 0 and keeps all of class 1.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from sklearn.base import clone
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from benchmarks.choices import (
    BASELINE,
    Candidate,
    Rows,
    fitted,
    judged,
    report,
    results_of,
)
from benchmarks.paired_splits import fitted_scores, ignore_warnings_of_fits, models_of
from steps.data.splits import Split

# Lowest and highest value of each parameter, on a logarithmic scale; integers stay integers.
SPACES: dict[str, dict[str, tuple[float, float]]] = {
    "Logistic Regression": {"C": (1e-4, 100.0)},
    "Extra Trees": {"max_features": (0.05, 1.0), "min_samples_leaf": (1, 50)},
    "Hist Gradient Boosting": {
        "learning_rate": (0.01, 0.3),
        "max_leaf_nodes": (4, 64),
        "min_samples_leaf": (5, 200),
        "max_features": (0.3, 1.0),
        "l2_regularization": (0.1, 100.0),
    },
    "LightGBM": {
        "learning_rate": (0.01, 0.3),
        "num_leaves": (4, 64),
        "min_child_samples": (5, 200),
        "colsample_bytree": (0.3, 1.0),
        "reg_lambda": (0.1, 100.0),
    },
}
# Random trials of each study before TPE's model is used.
STARTUP_TRIALS = 5
INNER_FOLDS = 3


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--seeds", default=10, type=click.IntRange(1), help="Stratified splits of each table."
)
@click.option("--rows", default=0, help="Draw so many rows of each table; 0 for all.")
@click.option("--profile", default="quick", type=click.Choice(["full", "quick"]))
@click.option("--trials", default=30, help="Trials of a search in all.")
@click.option("--searched", default=2, help="How many classifiers share the trials.")
@click.option("--objectives", default="roc_auc,log_loss", help="By comma; also folds.")
@click.option("--output", default="", help="CSV file for the results of each split.")
def main(
    tables: tuple[str, ...],
    seeds: int,
    rows: int,
    profile: str,
    trials: int,
    searched: int,
    objectives: str,
    output: str,
) -> None:
    """Print test metrics, and their differences with 95 % intervals."""
    if unknown := set(objectives.split(",")) - set(OBJECTIVES):
        raise click.BadParameter(f"{sorted(unknown)} are none of {', '.join(OBJECTIVES)}")
    ignore_warnings_of_fits()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # not a message of each trial

    def compare(of_split: Rows, seed: int) -> Iterator[dict[str, object]]:
        search = Search(of_split, seed, trials, searched)
        return compared(of_split, profile, search, objectives.split(","))

    frame = results_of(tables, seeds, rows, output, compare)
    click.echo(report(frame))
    click.echo("\nseconds of CPU, as multiples of those of the fixed parameters")
    click.echo(seconds(frame).round(2).to_string())
    click.echo(f"\nchosen of {BASELINE!r} by rule: share of the splits")
    click.echo(chosen_shares(frame).round(2).to_string())


@dataclass(frozen=True)
class Search:
    """A search for better parameters of the best classifiers.

    Attributes:
        rows: The rows to fit and score.
        seed: The random state of the sampler.
        trials: The number of fits in all.
        searched: How many classifiers share them.
    """

    rows: Rows
    seed: int
    trials: int
    searched: int

    def run(self, candidates: list[Candidate], objective: str) -> list[Candidate]:
        """Return those of the best classifiers whose parameters were improved."""
        value = OBJECTIVES[objective]
        fixed = {
            candidate.name: value(self.rows, candidate)
            for candidate in candidates
            if candidate.name in SPACES
        }
        best = sorted(fixed, key=fixed.__getitem__, reverse=True)[: self.searched]
        found = (
            self._better(candidate, fixed[candidate.name], objective)
            for candidate in candidates
            if candidate.name in best
        )
        return [candidate for candidate in found if candidate]

    def _better(self, fixed: Candidate, value: float, objective: str) -> Candidate | None:
        """Return the candidate with the best parameters of the trials, if they are better."""
        sampler = optuna.samplers.TPESampler(
            seed=self.seed, n_startup_trials=STARTUP_TRIALS, multivariate=True
        )
        study = optuna.create_study(sampler=sampler, direction="maximize")
        space = {name: _distribution(*limits) for name, limits in SPACES[fixed.name].items()}
        known = {name: _known(fixed.model, name, self.rows.training) for name in space}
        study.add_trial(optuna.trial.create_trial(params=known, distributions=space, value=value))
        best = None
        for _ in range(self.trials // self.searched):
            trial = study.ask(space)
            model = clone(fixed.model)
            model[-1].set_params(**trial.params)
            scores = fitted_scores(model, self.rows.training, self.rows.validation)
            tried = Candidate(f"{fixed.name}, searched", model, scores)
            of_trial = OBJECTIVES[objective](self.rows, tried)
            if of_trial > study.best_value:
                best = tried
            study.tell(trial, of_trial)
        return best


def _distribution(low: float, high: float) -> BaseDistribution:
    kind = IntDistribution if isinstance(low, int) else FloatDistribution
    return kind(low, high, log=True)


def _known(model: Pipeline, parameter: str, training: Split) -> Any:
    """Return the fixed value of a parameter, as a number."""
    value = model[-1].get_params()[parameter]
    width = len(training.features)
    # What a forest makes of it, as a share.
    return max(1, int(np.sqrt(width))) / width if value == "sqrt" else value


def _validation_auc(rows: Rows, candidate: Candidate) -> float:
    return float(roc_auc_score(rows.validation.y, candidate.scores))


def _validation_log_loss(rows: Rows, candidate: Candidate) -> float:
    return -float(log_loss(rows.validation.y, candidate.scores))


def _log_loss_of_folds(rows: Rows, candidate: Candidate) -> float:
    """Return minus the mean log loss in folds of the training rows."""
    training = rows.training
    folds = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0)
    losses = []
    for parts in folds.split(training.y, training.y):
        fold, held_out = (
            replace(training, in_memory=training.frame.iloc[places]) for places in parts
        )
        scores = fitted_scores(clone(candidate.model), fold, held_out)
        losses.append(log_loss(held_out.y, scores))
    return -float(np.mean(losses))


# What a search maximises.
OBJECTIVES: dict[str, Callable[[Rows, Candidate], float]] = {
    "roc_auc": _validation_auc,
    "log_loss": _validation_log_loss,
    "folds": _log_loss_of_folds,
}


def compared(
    rows: Rows, profile: str, search: Search, objectives: list[str]
) -> Iterator[dict[str, object]]:
    """Yield what each rule chooses with and without a search, and its metrics on the test rows.

    The seconds are those of the CPU for the first fits and the search.
    """
    start = time.process_time()
    fixed = fitted(models_of(rows.training, profile, search.seed), rows)
    contenders, spent = {BASELINE: fixed}, {BASELINE: time.process_time() - start}
    for objective in objectives:
        name, start = f"search by {objective}", time.process_time()
        contenders[name] = [*fixed, *search.run(fixed, objective)]
        spent[name] = spent[BASELINE] + time.process_time() - start
    for found in judged(contenders, rows):
        yield found | {"seconds": spent[str(found["contender"])]}


def seconds(results: pd.DataFrame) -> pd.DataFrame:
    """Return the seconds of each contender as multiples of those of the fixed parameters."""
    means = results.pivot_table(index="table", columns="contender", values="seconds", sort=False)
    ratios = means.drop(columns=BASELINE).div(means[BASELINE], axis=0)
    return pd.concat([means[[BASELINE]], ratios], axis=1)


def chosen_shares(results: pd.DataFrame) -> pd.DataFrame:
    """Return in which share of the splits each rule chooses each classifier, by table."""
    chosen = results[results["contender"] == BASELINE]
    names = chosen["chosen"].str.get_dummies("|")
    return names.groupby([chosen["rule"], chosen["table"]], sort=False).mean()


if __name__ == "__main__":
    main()
