"""Reference data for drift monitoring, stored with the champion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from steps.data.splits import Split

# A PSI of ten bins against this many rows is accurate to 0.001.
SAMPLE_ROWS = 10_000
# The path of the artifact "reference" in a pyfunc model of MLflow.
REFERENCE_IN_MODEL = Path("artifacts", "reference")
ROWS_FILE, SCORES_FILE = "rows.parquet", "scores.parquet"


@dataclass(frozen=True)
class Reference:
    """The data that live predictions are compared with.

    Attributes:
        rows: features of up to 10,000 random rows that the champion was fitted on.
        scores: the champion's scores of up to 10,000 random test rows, which it has not seen,
            shape (n_scores,).
    """

    rows: pd.DataFrame
    scores: npt.NDArray[np.float64]

    @classmethod
    def of(cls, fitted_on: Split, scores: npt.NDArray[np.float64]) -> Self:
        """Draw a reference; the same rows give the same reference."""
        rows = fitted_on.take(_sample_of(len(fitted_on)))[fitted_on.features]
        return cls(rows, scores[_sample_of(len(scores))])

    def write(self, folder: Path) -> None:
        """Write the reference into `folder`."""
        self.rows.to_parquet(folder / ROWS_FILE, index=False)
        pd.DataFrame({"score": self.scores}).to_parquet(folder / SCORES_FILE, index=False)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read a reference from `folder`; None if it has none."""
        if not (folder / ROWS_FILE).is_file():
            return None
        scores = pd.read_parquet(folder / SCORES_FILE)["score"].to_numpy()
        return cls(pd.read_parquet(folder / ROWS_FILE), scores)


def sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw up to 10,000 random rows; the same rows give the same sample."""
    return rows.iloc[_sample_of(len(rows))].reset_index(drop=True)


def _sample_of(count: int) -> npt.NDArray[np.int64]:
    """Draw the numbers of up to 10,000 of `count` rows."""
    random = np.random.RandomState(0)
    return random.choice(count, min(count, SAMPLE_ROWS), replace=False)
