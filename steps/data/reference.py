"""Reference data for drift monitoring, stored with the champion."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

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
    def of(cls, fitted_on: pd.DataFrame, scores: npt.NDArray[np.float64]) -> Self:
        """Draw a reference; the same rows give the same reference."""
        scored = pd.DataFrame({"score": scores})
        return cls(sample(fitted_on), sample(scored)["score"].to_numpy())

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
    return rows.sample(min(len(rows), SAMPLE_ROWS), random_state=0).reset_index(drop=True)
