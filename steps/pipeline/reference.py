"""What is kept of the training rows with a model, so that drift can be seen without them."""

from typing import Any

import numpy as np
import pandas as pd

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
