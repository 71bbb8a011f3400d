"""Verification that an export scores like its model."""

from dataclasses import dataclass

import numpy as np

from serving.model.scorer import PortableScorer
from steps.data.splits import Split
from steps.evaluation.metrics import Floats, Labels, ks
from steps.export.scoring import scores_of

# The largest differences allowed between a model and its export on any row. All graphs compute in
# float64 and stay far below them. The relative one keeps the ranks of small scores, too.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-9, 1e-6
# Smaller scores need not have so many digits: Spark computes them as 1 - p of the other class.
SMALLEST_SCORE = 1e-9
ROWS_SCORED_ALONE = 200


@dataclass(frozen=True)
class ExportCheck:
    """The comparison of an export with its model on the same raw rows.

    Attributes:
        scores: the export's scores, shape (n_rows,).
        largest_difference: between a score of the export and of the model.
        largest_relative_difference: the same as a share of the model's score.
        ks_difference: between the KS of both; it is reported, not judged: the order of summation
            may make or break a tie, which moves KS by one row.
        rows_alone: the number of rows that were also scored one by one.
        rows_that_differ_alone: those of them whose score differs from that in the batch.
    """

    scores: Floats
    largest_difference: float
    largest_relative_difference: float
    ks_difference: float
    rows_alone: int
    rows_that_differ_alone: int

    @property
    def failures(self) -> list[str]:
        """A message for each failed criterion; empty if the export is verified."""
        failures = []
        if not self.largest_difference <= ABSOLUTE_TOLERANCE:  # NaN fails, too
            failures.append(f"scores differ by up to {self.largest_difference:.2g}")
        elif not self.largest_relative_difference <= RELATIVE_TOLERANCE:
            share = self.largest_relative_difference
            failures.append(f"scores differ by up to {share:.2g} of their value")
        if self.rows_that_differ_alone:
            failures.append(
                f"{self.rows_that_differ_alone} of {self.rows_alone} rows score differently alone "
                "than in a batch"
            )
        return failures


def verify_export(scorer: PortableScorer, native_scores: Floats, rows: Split) -> ExportCheck:
    """Compare an export with its model, from raw rows to scores.

    Args:
        scorer: the export.
        native_scores: the model's own scores of the rows, shape (n_rows,).
        rows: raw rows. The first are also scored one by one, because a score must not depend on
            the other rows of a request.
    """
    scores = scores_of(scorer, rows)
    first = rows.head(ROWS_SCORED_ALONE)
    alone = np.concatenate([scorer.score(first.iloc[[row]]) for row in range(len(first))])
    differences = np.abs(scores - native_scores)
    return ExportCheck(
        scores=scores,
        largest_difference=float(np.max(differences)),
        largest_relative_difference=float(
            np.max(differences / np.maximum(native_scores, SMALLEST_SCORE))
        ),
        ks_difference=_ks_difference(rows.y, scores, native_scores),
        rows_alone=len(first),
        rows_that_differ_alone=int(np.sum(scores[: len(first)] != alone)),
    )


def _ks_difference(y: Labels, scores: Floats, native_scores: Floats) -> float:
    """Return the difference in KS, 0 if the rows have one class only: they have no KS."""
    if len(np.unique(y)) < 2:
        return 0.0
    return abs(ks(y, scores) - ks(y, native_scores))
