"""Splits of a table with columns of every kind, without reading a file."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from serving.model.features import Feature
from steps.data.splits import Splits
from steps.preparation.prepared_splits import fit_preparations

FEATURES = [
    Feature("job", "category", nullable=True, levels=("clerk", "nurse")),
    Feature("Zip code (№)", "category"),
    Feature("prediction", nullable=True),
    Feature("Prediction"),
    Feature("since", "date", nullable=True),
    Feature("member", "boolean", nullable=True, levels=("No", "Yes")),
]
TARGET = "left?"
ROWS = {"training": 600, "validation": 200, "test": 200}


def mixed_table(rows: int = 1000) -> pd.DataFrame:
    """Return raw rows with a target that depends on every column."""
    random = np.random.default_rng(3)
    job = random.choice(["clerk", "nurse", "pilot", "poet"], rows, p=[0.6, 0.3, 0.095, 0.005])
    zips = random.integers(0, 40, rows)
    amount, other = random.normal(size=(2, rows))
    days = random.integers(0, 2000, rows)
    member = random.random(rows) < 0.5
    log_odds = 2 * (job == "nurse") + zips / 20 - 2 + amount - other + member + days / 1000 - 1.5
    table = pd.DataFrame(
        {
            "job": pd.Series(job).mask(random.random(rows) < 0.1, None),
            "Zip code (№)": [f"{zip_:05d}" for zip_ in zips],
            "prediction": np.where(random.random(rows) < 0.1, np.nan, amount),
            "Prediction": other,
            "since": pd.Series(np.datetime64("2019-11-30") + days.astype("timedelta64[D]")).astype(
                "datetime64[us]"
            ),
            "member": member.astype(object),
            TARGET: (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(np.int64),
        }
    )
    table.loc[::50, "since"] = None
    table.loc[::70, "member"] = None
    return table


def mixed_splits(folder: Path) -> Splits:
    """Write the splits of the table, with their preparations, and open them."""
    table, start = mixed_table(sum(ROWS.values())), 0
    for name, rows in ROWS.items():
        table.iloc[start : start + rows].to_parquet(folder / f"{name}.parquet", index=False)
        start += rows
    description = {
        "source": "mixed", "target": TARGET, "time_column": "", "split": "stratified",
        "duplicates": 0, "rows": ROWS, "positives": {}, "digests": dict.fromkeys(ROWS, "0"),
        "latest": dict.fromkeys(ROWS, ""), "reference": {"columns": {}},
        "features": [asdict(feature) for feature in FEATURES],
    }  # fmt: skip
    (folder / "splits.json").write_text(json.dumps(description))
    splits = Splits(folder)
    fit_preparations(splits, folder, seed=42)
    return Splits(folder)
