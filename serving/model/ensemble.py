"""Ensembles of portable models, scored as one.

scorer/
  manifest.json   with a weight and a prior correction for each member
  member_1/       model.onnx
  member_2/       model.zip and h2o-genmodel.jar
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from serving.model.features import Floats
from serving.model.manifest import Manifest, Member
from serving.model.preparation import Preparation
from serving.model.probabilities import combine, correct_prior
from serving.model.runtimes import Runtime, load_runtime


def member_folder(scorer: Path, place: int) -> Path:
    """Return the folder of a member in that of an ensemble; the first has the place 0."""
    return scorer / f"member_{place + 1}"


def preparations_of(manifest: Manifest) -> list[Preparation]:
    """Return the preparations of a scorer: its own, and those that differ from it in a member."""
    own = [member.encodings for member in manifest.members if member.encodings is not None]
    return [Preparation(manifest.features, encodings) for encodings in (manifest.encodings, *own)]


class EnsembleRuntime:
    """The members of an ensemble, as one model of the matrices of their preparations.

    The matrices stand side by side: that of the members without a preparation of their own first.
    """

    def __init__(
        self, members: Sequence[Member], runtimes: Sequence[Runtime], columns: Sequence[slice]
    ) -> None:
        self._members = list(zip(members, runtimes, columns, strict=True))
        self._weights = [member.weight for member in members]

    @classmethod
    def load(cls, manifest: Manifest, folder: Path) -> "EnsembleRuntime":
        """Load the members in `folder`.

        Raises:
            ScorerError: the files of a member cannot be read.
        """
        preparations = preparations_of(manifest)
        ends = np.cumsum([0, *(len(preparation.columns) for preparation in preparations)])
        slices = [slice(int(start), int(end)) for start, end in pairwise(ends)]
        runtimes, columns, with_own = [], [], 0
        for place, member in enumerate(manifest.members):
            prepared_by = 0
            if member.encodings is not None:
                with_own += 1
                prepared_by = with_own
            names = preparations[prepared_by].columns
            runtimes.append(load_runtime(member.kind, member_folder(folder, place), names))
            columns.append(slices[prepared_by])
        return cls(manifest.members, runtimes, columns)

    def probability(self, matrix: Floats) -> Floats:
        """Return probabilities of class 1, shape (n_rows,), for shape (n_rows, n_columns)."""
        return combine(
            (
                correct_prior(
                    runtime.probability(np.ascontiguousarray(matrix[:, columns])),
                    member.positive_weight,
                )
                for member, runtime, columns in self._members
            ),
            self._weights,
        )
