"""Files and tables that `load_data` must refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.project import PROJECT, SAMPLE_FILE

SAMPLE = pd.read_parquet(SAMPLE_FILE).iloc[::7]


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "a_folder": lambda file: file.mkdir(),
    "empty.csv": lambda file: file.write_bytes(b""),
    "header.csv": lambda file: SAMPLE.head(0).to_csv(file, index=False),
    "image.csv": lambda file: file.write_bytes((PROJECT / "docs" / "mlflow.png").read_bytes()),
    "binary.csv": lambda file: file.write_bytes(np.random.default_rng(0).bytes(5000)),
    "text.json": lambda file: file.write_text('{"V1": [1, 2],\n "Class": [0, 1, 5]}\n'),
    "utf16.csv": lambda file: SAMPLE.head(50).to_csv(file, index=False, encoding="utf-16"),
    "semicolons.csv": lambda file: SAMPLE.head(50).to_csv(file, index=False, sep=";"),
    "latin1.csv": lambda file: file.write_text("größe,Class\n1,0\n2,1\n", encoding="latin-1"),
    "ragged.csv": lambda file: file.write_text("V1,Class\n1,0\n2,0,5\n3,1\n"),
    "cut.parquet": lambda file: file.write_bytes(SAMPLE_FILE.read_bytes()[:90_000]),
    "no_magic.parquet": lambda file: file.write_bytes(b"PAR1 is all that there is"),
}


def changed_sample(**columns: object) -> pd.DataFrame:
    """The sample with other columns."""
    return SAMPLE.assign(**columns)


def early_positives(count: int) -> pd.Series:
    """1 in the first `count` rows by time, 0 in all others."""
    return (SAMPLE["Time"].rank(method="first") <= count).astype(int)


BAD_TABLES: dict[str, pd.DataFrame] = {
    "no_target": SAMPLE.drop(columns="Class"),
    "gap_in_target": changed_sample(Class=SAMPLE["Class"].astype(float).where(SAMPLE.index > 700)),
    "three_classes": changed_sample(Class=np.arange(len(SAMPLE)) % 3),
    "only_0": changed_sample(Class=0),
    "only_1": changed_sample(Class=1),
    "positives_too_early": changed_sample(Class=early_positives(300)),
    "few_positives_in_training": changed_sample(
        Class=early_positives(15) + (1 - early_positives(1300))
    ),
    "one_negative": changed_sample(Class=(np.arange(len(SAMPLE)) != 5).astype(int)),
    "ten_rows": SAMPLE.head(10).assign(Class=[0, 1] * 5),
    "infinite": changed_sample(V7=SAMPLE["V7"].where(SAMPLE["V7"] < 2, np.inf)),
    "minus_infinite": changed_sample(V7=SAMPLE["V7"].where(SAMPLE["V7"] > -2, -np.inf)),
    "no_feature": SAMPLE[["Time", "Class"]],
    "gap_in_time": changed_sample(Time=SAMPLE["Time"].where(SAMPLE["Time"] > 1000)),
    "reserved_name": changed_sample(_ml_pipes_row=-1.5),
    "words_as_time": changed_sample(Time="noon"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    """Every bad file and table."""
    folder = tmp_path_factory.mktemp("bad")
    for name, write in BAD_FILES.items():
        write(folder / name)
    for name, frame in BAD_TABLES.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    SAMPLE.head(50).rename(columns={"V2": "V1"}).to_csv(folder / "twice.csv", index=False)
    return folder
