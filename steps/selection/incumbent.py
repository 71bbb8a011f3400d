"""Earlier versions, scored on the challenger's test rows: the present champion and its anchor."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from mlflow.entities.model_registry import ModelVersion

from serving.errors import InputError, ScorerError
from serving.model.mlflow_model import SCORER_IN_MODEL
from serving.model.scorer import PortableScorer
from steps.data.fingerprints import RowFingerprints
from steps.data.splits import Splits
from steps.evaluation.metrics import Floats
from steps.export.scoring import scores_of
from steps.registry.anchor import anchor_of
from steps.registry.champion_model import FINGERPRINTS_IN_MODEL
from steps.registry.versions import download_version, find_champion
from steps.runtime.errors import RegistryError


@dataclass(frozen=True)
class Incumbent:
    """A version and its scores of the test rows.

    Attributes:
        version: Its version in the registry.
        fingerprints: The rows that it was fitted and selected on, whose hashes can no longer be
            read; None if its version has none.
        scores: Its scores, shape (n_rows,); None if it cannot score these rows.
        unseen: True for each test row that it was not fitted or selected on, shape (n_rows,).
        problem: The reason if it cannot score these rows.
        anchor: The version that is its anchor.
        threshold: Its threshold; None if it cannot be read.
    """

    version: str
    fingerprints: RowFingerprints | None
    scores: Floats | None
    unseen: npt.NDArray[np.bool_]
    problem: str = ""
    anchor: str = ""
    threshold: float | None = None

    def scores_like(self, scores: Floats) -> bool:
        """Return whether it gives the same rows exactly these scores: it is the same model."""
        return self.scores is not None and np.array_equal(scores, self.scores)


def assess_incumbent(model_name: str, splits: Splits) -> Incumbent | None:
    """Score the test rows with the champion of `model_name`; return None if there is none.

    Raises:
        RegistryError: The champion's artifacts cannot be read.
    """
    champion = find_champion(model_name)
    return None if champion is None else _assess(champion, splits)


def assess_anchor(model_name: str, incumbent: Incumbent | None, splits: Splits) -> Incumbent | None:
    """Score the test rows with the anchor of the champion; None if that is the champion itself.

    An anchor that was deleted has no scores.
    """
    if incumbent is None or incumbent.anchor == incumbent.version:
        return None
    anchor = ModelVersion(model_name, incumbent.anchor, 0)
    try:
        return _assess(anchor, splits)
    except RegistryError as error:
        unseen = np.ones(len(splits.test), bool)
        return Incumbent(incumbent.anchor, None, None, unseen, str(error))


def _assess(found: ModelVersion, splits: Splits) -> Incumbent:
    """Score the test rows with a version.

    Rows are recognised by the version's features, because the table may have gained others.
    """
    version, test, anchor = str(found.version), splits.test, anchor_of(found)
    unseen = np.ones(len(test), bool)
    with download_version(found.name, version) as model:
        fingerprints = RowFingerprints.read(model / FINGERPRINTS_IN_MODEL)
        try:
            scorer = PortableScorer.load(model / SCORER_IN_MODEL)
            scores = scores_of(scorer, test)
        except (InputError, ScorerError) as error:
            return Incumbent(version, fingerprints, None, unseen, str(error), anchor)
        if fingerprints is not None:
            unseen = fingerprints.unseen(splits, test, scorer.names)
    threshold = scorer.manifest.threshold
    return Incumbent(version, fingerprints, scores, unseen, anchor=anchor, threshold=threshold)
