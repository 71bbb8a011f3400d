"""What the pipeline would choose from classifiers on a split of a table, judged on test rows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import click
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from benchmarks.packaged_tables import name_of
from benchmarks.paired_splits import (
    fitted_scores,
    mean_with_interval,
    stratified_splits,
    temporal_splits,
)
from serving.model.probabilities import combine
from steps.data.splits import Split
from steps.engines.pycaret import CANDIDATES
from steps.evaluation.metrics import METRICS, Floats, Labels
from steps.preparation.prepared_splits import prepare
from steps.selection.greedy import select_weights

CREDITCARD = "creditcard"
# Ends of the training, validation and test split, as shares of all rows.
ORIGINS = ((0.4, 0.5, 0.6), (0.5, 0.6, 0.7), (0.6, 0.7, 0.8))
BASELINE = "baseline"
ENSEMBLE = "ensemble"
RULES = ("ks", "roc_auc", ENSEMBLE)
JUDGED_BY = ("ks", "roc_auc", "log_loss")


@dataclass(frozen=True)
class Rows:
    """Prepared rows of one split of a table.

    Attributes:
        training: The rows to fit on first.
        validation: The rows to compare on.
        refit: Both, prepared on their own.
        test: The rows to judge on, prepared as for the refit.
    """

    training: Split
    validation: Split
    refit: Split
    test: Split


@dataclass(frozen=True)
class Candidate:
    """A classifier with parameters, and its scores of the validation rows after the first fit."""

    name: str
    model: Pipeline
    scores: Floats


def results_of(
    tables: Iterable[str],
    seeds: int,
    rows: int,
    output: str,
    compare: Callable[[Rows, int], Iterable[dict[str, object]]],
) -> pd.DataFrame:
    """Return a line for each result of `compare` on each split of each table.

    Args:
        tables: FILE:TARGET, or names. The credit card data has three splits in any case.
        seeds: The number of splits of each other table.
        rows: Draw at most so many rows; 0 for all.
        output: A CSV file for the results, rewritten after each split; empty for none.
        compare: Takes the rows of a split and its number.
    """
    results: list[dict[str, object]] = []
    for table in tables:
        for seed in range(len(ORIGINS) if table == CREDITCARD else seeds):
            with rows_of(table, seed, rows) as of_split:
                for found in compare(of_split, seed):
                    results.append({"table": name_of(table), "seed": seed} | found)
            click.echo(f"{table}: split {seed} done", err=True)
            if output:
                pd.DataFrame(results).to_csv(output, index=False)
    return pd.DataFrame(results)


@contextmanager
def rows_of(table: str, seed: int, rows: int) -> Iterator[Rows]:
    """Open the prepared rows of one split of a table."""
    if table == CREDITCARD:
        with temporal_splits(table, "Class", ORIGINS[seed], rows) as (training, validation, test):
            frame = pd.concat([training.frame, validation.frame], ignore_index=True)
            yield Rows(training, validation, replace(training, in_memory=frame), test)
        return
    with stratified_splits(table, seed, rows) as splits:
        first, refit = prepare(splits), prepare(splits, refit=True)
        test = refit.preparation.apply(splits.test)
        yield Rows(first.training, first.validation, refit.training, test)


def fitted(models: dict[str, Pipeline], rows: Rows) -> list[Candidate]:
    """Fit models on the training rows."""
    return [
        Candidate(name, model, fitted_scores(model, rows.training, rows.validation))
        for name, model in models.items()
    ]


def judged(contenders: dict[str, list[Candidate]], rows: Rows) -> Iterator[dict[str, object]]:
    """Yield what each rule chooses from each contender's candidates, with its test metrics."""
    test = _RefittedScores(rows)
    for contender, candidates in contenders.items():
        for rule in RULES:
            chosen, weights = choose(rule, candidates, rows.validation.y)
            scores = combine([test(candidate) for candidate in chosen], weights)
            yield {
                "contender": contender,
                "rule": rule,
                "chosen": "|".join(candidate.name for candidate in chosen),
            } | {name: float(METRICS[name](rows.test.y, scores)) for name in JUDGED_BY}


def choose(
    rule: str, candidates: list[Candidate], y: Labels
) -> tuple[list[Candidate], list[float]]:
    """Return the candidates that a rule chooses by their validation scores, and their weights.

    As in the pipeline, log loss breaks ties.
    """
    metric, loss = METRICS["ks" if rule == ENSEMBLE else rule], METRICS["log_loss"]
    ranked = sorted(candidates, key=lambda each: (-metric(y, each.scores), loss(y, each.scores)))
    if rule != ENSEMBLE:
        return ranked[:1], [1.0]
    ranked = ranked[:CANDIDATES]
    weights = select_weights(y, np.array([candidate.scores for candidate in ranked]))
    members = np.flatnonzero(weights)
    return [ranked[place] for place in members], weights[members].tolist()


class _RefittedScores:
    """Scores of the test rows by refitted candidates, each refitted once."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._found: dict[int, tuple[Candidate, Floats]] = {}

    def __call__(self, candidate: Candidate) -> Floats:
        if id(candidate) not in self._found:
            model = clone(candidate.model)
            scores = fitted_scores(model, self._rows.refit, self._rows.test)
            self._found[id(candidate)] = candidate, scores
        return self._found[id(candidate)][1]


def report(results: pd.DataFrame) -> str:
    """Return the differences of all contenders to `BASELINE` as text, a table for each metric."""
    return "\n".join(
        f"\ntest {metric}: differences to the baseline\n{gains(results, metric).to_string()}"
        for metric in JUDGED_BY
    )


def gains(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the mean of a test metric, and what each contender gains, by rule and table.

    The line "all" is the mean over all splits of all tables but the credit card data.
    """
    lines = {}
    for rule in RULES:
        values = results[results["rule"] == rule].pivot_table(
            index=["table", "seed"], columns="contender", values=metric, sort=False
        )
        tables = values.index.get_level_values("table")
        groups = [(table, values[tables == table]) for table in tables.unique()]
        for table, group in [*groups, ("all", values[tables != CREDITCARD])]:
            if len(group):
                lines[rule, table] = {
                    "splits": len(group),
                    BASELINE: round(group[BASELINE].mean(), 4),
                } | {
                    contender: mean_with_interval(group[contender] - group[BASELINE])
                    for contender in group.columns.drop(BASELINE)
                }
    return pd.DataFrame.from_dict(lines, orient="index")
