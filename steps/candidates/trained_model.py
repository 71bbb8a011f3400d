"""Trained models, as engines hand them over."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from serving.model.probabilities import correct_prior
from steps.data.splits import Split
from steps.evaluation.metrics import Floats
from steps.runtime.errors import EngineError
from steps.runtime.progress import timed

Configuration = dict[str, Any]


@dataclass(frozen=True)
class TrainedModel:
    """A model that an engine has trained.

    Attributes:
        algorithm: The engine's name of the algorithm.
        configuration: JSON from which the engine can fit the same model on other rows; None if
            it cannot.
        predict: Return the raw probability of class 1 for each row of a split, shape (n_rows,).
        log_native: Log the model to the active run with the MLflow flavor of its engine; takes
            a few rows of features, from which a signature is inferred.
        export: Write the model's graph into a folder and return its kind, one of those that
            `serving.model.runtimes` reads.
        positive_weight: The weight of a positive row in the fit, relative to a negative one
            (n_negatives / n_positives for balanced weights). The scores are corrected for it.
    """

    algorithm: str
    configuration: Configuration | None
    predict: Callable[[Split], Floats]
    log_native: Callable[[pd.DataFrame], None]
    export: Callable[[Path], str]
    positive_weight: float = 1.0
    _scores: dict[Path, Floats] = field(default_factory=dict, repr=False, compare=False)

    def corrected(self, drawing_ratio: float) -> Self:
        """Return the model with its scores corrected for a fit on a sample.

        Args:
            drawing_ratio: How much likelier positive rows were drawn than negative ones.
        """
        if drawing_ratio == 1.0:
            return self
        return replace(self, positive_weight=self.positive_weight * drawing_ratio, _scores={})

    def scores(self, split: Split) -> Floats:
        """Return the probabilities of class 1 at the training prior, shape (n_rows,).

        Each split is scored once; the scores are kept.

        Raises:
            EngineError: A raw value is not a probability, or the shape is another.
        """
        if split.file not in self._scores:
            with timed("judging"):
                raw = self.predict(split)
            if (shape := np.shape(raw)) != (len(split),):
                raise EngineError(
                    f"{self.algorithm} returned scores of shape {shape}, not ({len(split)},)"
                )
            if not (np.isfinite(raw).all() and (raw >= 0).all() and (raw <= 1).all()):
                raise EngineError(f"{self.algorithm} returned scores that are not probabilities")
            self._scores[split.file] = correct_prior(raw, self.positive_weight)
        return self._scores[split.file]
