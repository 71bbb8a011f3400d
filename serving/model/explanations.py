"""Explanations of scores: the contribution of each column to the log-odds of a row.

The contributions are Shapley values, estimated from paths that lead from a reference row to the
explained row, one column at a time (Štrumbelj and Kononenko 2014, "Explaining prediction models and
individual predictions with feature contributions"). Each reference row has two paths, the order of
one the reverse of the other's (antithetic sampling; Mitchell et al. 2022, "Sampling Permutations
for Shapley Value Estimation").
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from serving.errors import InputError, ScorerError
from serving.model.features import FeatureRows, Floats
from serving.model.scorer import PortableScorer
from serving.model.values import Texts

MAX_REFERENCE_ROWS = 25
# Rows scored to explain one row: wide tables have fewer reference rows, but at least one.
MAX_SCORED_ROWS = 10_000
# Values of the rows that are scored at once: 8 MB.
MAX_VALUES = 2**20
# The largest probability below 1 is 1 - 2^-53, at log-odds of 36.7.
LARGEST_LOG_ODDS = 36.0
SEED = 0
# Seconds of rest after each path, so that threads that answer other requests get the interpreter.
PAUSE = 0.0002


@dataclass(frozen=True)
class Explanation:
    """The contributions of the columns to the log-odds of a score.

    Attributes:
        base: The mean log-odds of the reference rows.
        contributions: The share of each column; with `base`, they add up to the log-odds.
    """

    base: float
    contributions: dict[str, float]


def reference_row_count(n_features: int) -> int:
    """Return how many reference rows keep an explanation within `MAX_SCORED_ROWS`."""
    scored_by_reference = max(1, 2 * (n_features - 1))
    return max(1, min(MAX_REFERENCE_ROWS, MAX_SCORED_ROWS // scored_by_reference))


def log_odds(probability: Floats) -> Floats:
    """Return the log-odds of probabilities, limited to ±36; any shape."""
    least = 1.0 / (1.0 + math.exp(LARGEST_LOG_ODDS))
    inner = np.minimum(np.maximum(probability, least), 1.0 - 2.0**-53)
    return np.clip(np.log(inner) - np.log1p(-inner), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)


class Explainer:
    """Explains the scores of one scorer; the same row always gets the same explanation."""

    def __init__(self, scorer: PortableScorer) -> None:
        """Read the reference rows of a scorer, of which the manifest must have some.

        Raises:
            ScorerError: They are no valid rows, or cannot be scored.
        """
        self._scorer = scorer
        self._names = scorer.names
        self._references = _parse(scorer)
        self._reference_log_odds = log_odds(scorer.score_rows(self._references))
        self._is_category = np.array([f.kind == "category" for f in self._references.features])
        random = np.random.default_rng(SEED)
        orders = [random.permutation(len(self._names)) for _ in range(len(self._references))]
        # The references twice: each with an order and its reverse.
        self._paths = [
            (reference, path)
            for reference, order in enumerate(orders)
            for path in (order, order[::-1])
        ]

    def explain(self, rows: FeatureRows, scores: Sequence[float]) -> list[Explanation]:
        """Return the explanation of each row.

        Args:
            rows: Valid rows.
            scores: The score of each row.
        """
        base = math.fsum(self._reference_log_odds) / len(self._reference_log_odds)
        targets = log_odds(np.array(scores)).tolist()
        return [
            Explanation(base, self._contributions(rows, row, target, base))
            for row, target in enumerate(targets)
        ]

    def _contributions(
        self, rows: FeatureRows, row: int, target: float, base: float
    ) -> dict[str, float]:
        total = np.zeros(len(self._names))
        for reference, order in self._paths:
            interior = [log_odds(scores) for scores in self._scores(rows, row, reference, order)]
            time.sleep(PAUSE)
            start = self._reference_log_odds[reference]
            total[order] += np.diff(np.concatenate([[start], *interior, [target]]))
        contributions = (total / len(self._paths)).tolist()
        # The steps of each path add up to the difference; only their rounding is left.
        largest = max(range(len(contributions)), key=lambda place: abs(contributions[place]))
        contributions[largest] += target - math.fsum([base, *contributions])
        return dict(zip(self._names, contributions, strict=True))

    def _scores(
        self, rows: FeatureRows, row: int, reference: int, order: npt.NDArray[np.int64]
    ) -> Iterator[Floats]:
        """Yield the scores on the path from a reference to a row, without its ends, in portions.

        After k steps, the first k columns of `order` have the values of the row.
        """
        n_columns = len(order)
        ranks = np.empty(n_columns, np.int64)
        ranks[order] = np.arange(n_columns)
        portion = max(1, MAX_VALUES // n_columns)
        for first, end in pairwise([*range(1, n_columns, portion), n_columns]):
            from_row = ranks < np.arange(first, end)[:, None]
            yield self._scorer.score_rows(self._mixed(rows, row, reference, from_row))

    def _mixed(
        self, rows: FeatureRows, row: int, reference: int, from_row: npt.NDArray[np.bool_]
    ) -> FeatureRows:
        """Return rows with some values of a row and the others of a reference row.

        Args:
            rows: Rows.
            row: The place of the row among them.
            reference: The place of the reference row.
            from_row: Which values are those of the row, shape (n_mixed, n_features).
        """
        numbers = np.where(
            from_row[:, ~self._is_category], rows.numbers[row], self._references.numbers[reference]
        )
        of_categories = from_row[:, self._is_category].T
        pairs = zip(of_categories, rows.categories, self._references.categories, strict=True)
        categories: list[list[str | None] | Texts] = [
            Texts(mask.astype(np.int64), [_text(theirs, reference), _text(own, row)])
            for mask, own, theirs in pairs
        ]
        return FeatureRows(rows.features, numbers, categories)


def _parse(scorer: PortableScorer) -> FeatureRows:
    rows = scorer.manifest.reference_rows
    try:
        return scorer.schema.parse_columns([rows[name] for name in scorer.names])
    except (InputError, KeyError, ValueError) as error:
        raise ScorerError(f"reference_rows: {error}") from error


def _text(column: list[str | None] | Texts, row: int) -> str | None:
    if isinstance(column, Texts):
        code = int(column.codes[row])
        return None if code < 0 else column.distinct[code]
    return column[row]
