"""Portable scorers: folders that score like the models they were exported from.

    scorer/
      manifest.json   features, preparation, threshold; correction and calibration of raw
                      probabilities
      model.onnx      (see `serving.model.runtimes`), or model.zip and h2o-genmodel.jar (see
                      `serving.model.mojo`), or a folder with one of these for each member (see
                      `serving.model.ensemble`)

Loading one requires no training library and runs no code from the folder.
"""

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from serving.model.ensemble import EnsembleRuntime, preparations_of
from serving.model.features import FeatureRows, Floats
from serving.model.manifest import Manifest
from serving.model.probabilities import calibrated, correct_prior
from serving.model.runtimes import Runtime, load_runtime
from serving.model.schema import FeatureSchema


class PortableScorer:
    """An exported model with its manifest; can be called from several threads."""

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        self.manifest = manifest
        self.schema = FeatureSchema(manifest.features)
        self.preparation, *self._other_preparations = preparations_of(manifest)
        self._runtime = runtime

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the scorer in `folder`.

        Raises:
            ScorerError: the folder is incomplete, damaged or of a newer format.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        if manifest.members:
            return cls(manifest, EnsembleRuntime.load(manifest, folder))
        columns = preparations_of(manifest)[0].columns
        return cls(manifest, load_runtime(manifest.kind, folder, columns))

    @property
    def uncalibrated(self) -> Self:
        """The same scorer without its calibration."""
        return self.with_manifest(replace(self.manifest, calibration=None))

    def with_manifest(self, manifest: Manifest) -> Self:
        """Return the same model with another manifest, of the same features and preparation."""
        return type(self)(manifest, self._runtime)

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return self.schema.names

    def score(self, rows: pd.DataFrame) -> Floats:
        """Return the probability of class 1, shape (n_rows,).

        It is that at the class distribution of the training rows, or of the rows of a calibration.

        Args:
            rows: at least the feature columns, in any order; others are ignored.

        Raises:
            InputError: a feature is absent or has an invalid value.
        """
        return self.score_rows(self.schema.parse_frame(rows))

    def score_rows(self, rows: FeatureRows) -> Floats:
        """Return the scores of valid rows, shape (n_rows,)."""
        return self.score_matrix(self.matrix(rows)) if len(rows) else np.empty(0)

    def matrix(self, rows: FeatureRows) -> Floats:
        """Return valid rows as the model takes them, shape (n_rows, n_columns)."""
        matrix = self.preparation.matrix(rows)
        if not self._other_preparations:
            return matrix
        others = (preparation.matrix(rows) for preparation in self._other_preparations)
        return np.hstack([matrix, *others])

    def score_matrix(self, matrix: Floats) -> Floats:
        """Return the scores, shape (n_rows,), of the rows of `matrix`; each as if it were alone."""
        probability = self._runtime.probability(matrix)
        scores = correct_prior(probability, self.manifest.positive_weight)
        return calibrated(scores, self.manifest.calibration)
