"""The test of a model against chance."""

from dataclasses import dataclass
from typing import Self

from scipy.stats import mannwhitneyu

from steps.evaluation.metrics import Floats, Labels

SIGNIFICANCE_LEVEL = 0.025


@dataclass(frozen=True)
class ChanceTest:
    """The one-sided test of Mann and Whitney: do positives score higher than negatives?

    Source: Mann and Whitney 1947, "On a Test of Whether One of Two Random Variables Is
    Stochastically Larger than the Other". The interval of KS would not do: at the threshold
    that maximizes it, the interval excludes 0 for a quarter of random scorers.

    Attributes:
        p_value: The probability of scores that rank as well or better, for a random scorer.
    """

    p_value: float

    @classmethod
    def of(cls, y: Labels, scores: Floats) -> Self:
        """Test `scores`, shape (n_rows,), of rows with the labels `y`, shape (n_rows,)."""
        return cls(
            float(mannwhitneyu(scores[y == 1], scores[y == 0], alternative="greater").pvalue)
        )

    @property
    def better(self) -> bool:
        """Whether the model ranks significantly better than chance."""
        return self.p_value <= SIGNIFICANCE_LEVEL

    def __str__(self) -> str:
        relation = "better" if self.better else "no better"
        return (
            f"{relation} than chance on the test rows (one-sided Mann-Whitney p = "
            f"{self.p_value:.2g}, {'not above' if self.better else 'above'} {SIGNIFICANCE_LEVEL})"
        )
