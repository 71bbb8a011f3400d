"""The portable scorer: one folder that scores like the model it was exported from.

    scorer/
      manifest.json   what goes in, how raw probabilities become scores, the threshold
      model.onnx      or model.zip and h2o-genmodel.jar (see `serving.graphs`)

Reading one needs no training library and runs no code that came with it.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from serving.errors import InputError, ScorerError
from serving.graphs import Graph, load_graph

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One input column: `nullable` if its splits had missing values in it."""

    name: str
    type: str = "double"
    nullable: bool = False


@dataclass(frozen=True)
class Manifest:
    """What a scorer knows beside its graph.

    `positive_weight` is the weight of a positive row in the fit, relative to a negative
    one. A score at or above `threshold` is labelled 1. `reference` describes the training
    rows (see `steps.pipeline.reference`), so that drift can be measured without them.
    """

    kind: str
    features: tuple[Feature, ...]
    threshold: float
    positive_weight: float = 1.0
    reference: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        """Write the manifest into `folder`."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of `folder`.

        Raises:
            ScorerError: it is missing, damaged, or of a newer format.
        """
        try:
            content = json.loads((folder / MANIFEST).read_text())
            version = content["format_version"]
            if version > FORMAT_VERSION:
                raise ScorerError(
                    f"{folder} has scorer format {version}, this code reads up to "
                    f"{FORMAT_VERSION}: update ml-pipes"
                )
            content["features"] = tuple(Feature(**feature) for feature in content["features"])
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ScorerError(f"{folder} holds no readable {MANIFEST}: {error}") from error


def correct_prior(probability: Floats, positive_weight: float) -> Floats:
    """Return what a fit with weighted positives would have said without the weight.

    Weighting positives by w multiplies the odds by w; dividing them again gives
    p / (p + w (1 - p)), which is monotone, so that ranks and KS stay as they are
    (Elkan 2001, "The Foundations of Cost-Sensitive Learning", theorem 2).
    """
    return probability / (probability + positive_weight * (1.0 - probability))


class PortableScorer:
    """Scores rows with an exported model; safe to call from many threads."""

    def __init__(self, manifest: Manifest, graph: Graph) -> None:
        self.manifest = manifest
        self.names = [feature.name for feature in manifest.features]
        self._graph = graph

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load the scorer in `folder`.

        Raises:
            ScorerError: the folder is incomplete, damaged or of a newer format.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        names = [feature.name for feature in manifest.features]
        return cls(manifest, load_graph(manifest.kind, folder, names))

    def score(self, rows: pd.DataFrame) -> Floats:
        """Return the probability of class 1 at the training prior, shape (n_rows,).

        Args:
            rows: at least the feature columns, in any order; others are ignored.

        Raises:
            InputError: a feature is missing, not a number, infinite, or null where the
                training rows never were.
        """
        return self.score_matrix(self.matrix(rows))

    def score_matrix(self, matrix: Floats) -> Floats:
        """Return the scores, shape (n_rows,), of valid rows of shape (n_rows, n_features)."""
        if not len(matrix):
            return np.empty(0)
        return correct_prior(self._graph.probability(matrix), self.manifest.positive_weight)

    def matrix(self, rows: pd.DataFrame) -> Floats:
        """Return the features of `rows` as a float64 matrix, checked against the manifest.

        Raises:
            InputError: as `score`.
        """
        if absent := [name for name in self.names if name not in rows.columns]:
            raise InputError(f"missing column{'s'[: len(absent) > 1]} {', '.join(absent)}")
        try:
            matrix = rows[self.names].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError):
            raise self._not_a_number(rows) from None
        return self.checked(np.ascontiguousarray(matrix))

    def checked(self, matrix: Floats) -> Floats:
        """Return `matrix`, shape (n_rows, n_features), if the model can score it.

        Raises:
            InputError: a value is infinite, or missing where the training rows never were.
        """
        if np.isfinite(matrix).all():
            return matrix
        if np.isinf(matrix).any():
            row, column = np.argwhere(np.isinf(matrix))[0]
            raise InputError(f"column {self.names[column]}, row {row}: must be finite")
        required = np.array([not feature.nullable for feature in self.manifest.features])
        missing = np.isnan(matrix) & required
        if missing.any():
            row, column = np.argwhere(missing)[0]
            raise InputError(
                f"column {self.names[column]}, row {row}: must not be missing "
                "(it never was in the data of this model)"
            )
        return matrix

    def _not_a_number(self, rows: pd.DataFrame) -> InputError:
        for name in self.names:
            as_number = pd.to_numeric(rows[name], errors="coerce")
            wrong = as_number.isna() & rows[name].notna()
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                return InputError(f"column {name}, row {row}: must be a number")
        return InputError("features must be numbers")
