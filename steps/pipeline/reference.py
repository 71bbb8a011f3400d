"""What is kept of the training rows with a model, so that drift can be seen without them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

# A PSI of ten bins against this many rows is off by 0.001.
SAMPLE_ROWS = 10_000
# Where MLflow puts the artifact "reference" of a pyfunc.
REFERENCE_IN_MODEL = Path("artifacts", "reference")
ROWS_FILE, SCORES_FILE = "rows.parquet", "scores.parquet"

QUANTILES = np.linspace(0.0, 1.0, 21)


def describe(rows: pd.DataFrame) -> dict[str, Any]:
    """Return count, missing share and 21 quantiles (each 5 %, minimum to maximum) a column."""
    return {
        "rows": len(rows),
        "columns": {
            name: {
                "missing": float(values.isna().mean()),
                "quantiles": np.nanquantile(values.to_numpy(), QUANTILES).tolist(),
            }
            for name, values in rows.items()
        },
    }


@dataclass(frozen=True)
class Reference:
    """What live predictions are compared with: kept with the champion.

    Attributes:
        rows: features of up to 10,000 rows that the model was fitted on, drawn at random.
        scores: the champion's own, of as many test rows: rows that it had not seen.
    """

    rows: pd.DataFrame
    scores: npt.NDArray[np.float64]

    @classmethod
    def of(cls, fitted_on: pd.DataFrame, scores: npt.NDArray[np.float64]) -> Self:
        """Draw a reference; the same from the same rows."""
        scored = pd.DataFrame({"score": scores})
        return cls(sample(fitted_on), sample(scored)["score"].to_numpy())

    def write(self, folder: Path) -> None:
        """Write it into `folder`."""
        self.rows.to_parquet(folder / ROWS_FILE, index=False)
        pd.DataFrame({"score": self.scores}).to_parquet(folder / SCORES_FILE, index=False)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read what `write` wrote; None if there is none."""
        if not (folder / ROWS_FILE).is_file():
            return None
        scores = pd.read_parquet(folder / SCORES_FILE)["score"].to_numpy()
        return cls(pd.read_parquet(folder / ROWS_FILE), scores)


def sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw up to 10,000 rows at random; the same from the same rows."""
    return rows.sample(min(len(rows), SAMPLE_ROWS), random_state=0).reset_index(drop=True)
