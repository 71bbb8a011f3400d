"""The contract of a training engine, and the one function that runs any engine.

An engine is one class in one file, `steps/engines/NAME.py`, and one entry point `train_NAME` in
`MLproject`. Everything else is done for it: reading the splits, metrics, plots, the records in
MLflow, the check of each export, the refit of the winner.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ClassVar

import mlflow

from steps.candidates.queries import read_configuration
from steps.candidates.recording import record_candidate, record_refit
from steps.candidates.trained_model import Configuration, TrainedModel
from steps.data.class_sample import class_sample
from steps.data.logged_splits import LoggedSplits, open_splits
from steps.data.splits import Split
from steps.preparation.prepared_splits import PreparedSplits, prepare
from steps.runtime.errors import EngineError
from steps.runtime.mlproject import ENGINE_PREFIX, engine_names
from steps.runtime.progress import timed

logger = logging.getLogger("ml-pipes")

__all__ = ["Configuration", "Engine", "PreparedSplits", "Split", "TrainedModel", "run_engine"]


class Engine(ABC):
    """A library that trains models.

    Attributes:
        name: The engine's name in `MLproject`, tags and the leaderboard.
    """

    name: ClassVar[str]

    @property
    def row_budget(self) -> int | None:
        """The largest number of rows to fit on, None for any number.

        Of more rows the engine gets a sample that keeps the positives. Its scores are corrected
        to the rate of positives in all rows, and judged on all validation rows.
        """
        return None

    def running(self, splits: PreparedSplits) -> AbstractContextManager[None]:  # noqa: ARG002
        """Provide the servers or sessions that `search` and `fit` need, and end them on exit."""
        return nullcontext()

    @abstractmethod
    def search(self, splits: PreparedSplits) -> Iterable[TrainedModel]:
        """Train models on the training split; return or yield the candidates, in any order.

        The validation split may rank models; nothing may be fitted on it. Catch what a single
        model may raise, and continue with the others: an exception ends the search.

        Raises:
            EngineError: No model could be trained.
        """

    @abstractmethod
    def fit(self, configuration: Configuration, rows: Split) -> TrainedModel:
        """Fit the model of a candidate's `configuration` on `rows`.

        Raises:
            EngineError: The model could not be fitted.
        """


def run_engine(engine: Engine, data_run_id: str, refit_of: str = "") -> None:
    """Search with `engine` and record each candidate, or refit one of its candidates.

    Args:
        engine: The engine.
        data_run_id: A finished run of `load_data`.
        refit_of: The run of a candidate of this engine. Its configuration is fitted once on
            training and validation rows, and recorded as the only child run.

    Raises:
        ParameterError: A run does not hold what is expected of it.
        EngineError: No model could be trained.
    """
    if engine.name not in engine_names():
        raise EngineError(
            f"engine {engine.name!r}: no entry point {ENGINE_PREFIX}{engine.name} in MLproject"
        )
    configuration = read_configuration(refit_of, engine.name) if refit_of else None
    with open_splits(data_run_id) as splits:
        with timed("data"):
            prepared = prepare(splits, refit=configuration is not None)
            rows, drawing_ratio = _within_budget(engine, prepared.training)
            prepared = replace(prepared, training=rows)
        with engine.running(prepared):
            if configuration is not None:
                model = engine.fit(configuration, prepared.training).corrected(drawing_ratio)
                record_refit(engine.name, model, splits, prepared, refit_of)
            else:
                _record_candidates(engine, splits, prepared, drawing_ratio)


def _within_budget(engine: Engine, rows: Split) -> tuple[Split, float]:
    """Return the rows that `engine` is to fit on, and the ratio of `class_sample`."""
    budget, count = engine.row_budget, len(rows)
    if budget is None or count <= budget:
        return rows, 1.0
    sample, drawing_ratio = class_sample(rows, budget)
    logger.info(
        "%s fits on a sample of %s of %s %s rows, with %s of %s positives",
        *(engine.name, f"{budget:,}", f"{count:,}", rows.name),
        *(f"{sample.y.sum():,}", f"{rows.y.sum():,}"),
    )
    mlflow.set_tag("fitted_rows", f"{budget} of {count}")
    return sample, drawing_ratio


def _record_candidates(
    engine: Engine, splits: LoggedSplits, prepared: PreparedSplits, drawing_ratio: float
) -> None:
    """Record each model of a search; one that cannot be recorded does not fail the others.

    Args:
        engine: The engine.
        splits: The splits.
        prepared: The same as the engine sees them, within its budget of rows.
        drawing_ratio: How much likelier positives were drawn than negatives.

    Raises:
        EngineError: No model could be recorded.
    """
    recorded, failures = 0, []
    for model in engine.search(prepared):
        try:
            record_candidate(engine.name, model.corrected(drawing_ratio), splits, prepared)
        except EngineError as error:
            logger.warning("%s %s failed: %s", engine.name, model.algorithm, error)
            failures.append(f"{model.algorithm}: {error}")
        else:
            recorded += 1
    if not recorded:
        raise EngineError(f"no model could be trained: {'; '.join(failures) or 'none was found'}")
