"""Tables of tests, through the loading of the pipeline."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from serving.model.features import Feature
from steps.data.split_files import SplitWriter
from steps.data.splits import Splits, SplitsDescription
from steps.loading.reading import load_source
from steps.loading.rules import Rules
from steps.loading.session import session
from steps.loading.splitting import split_table


def load(data: str, folder: Path, target: str = "Class", query: str = "", **rules: Any) -> Splits:
    """Return the splits of a source, written into `folder`."""
    with session() as opened:
        return split_table(load_source(opened, data, query), Rules(target, **rules), folder)


def load_frame(frame: pd.DataFrame, folder: Path, target: str = "Class", **rules: Any) -> Splits:
    """Return the splits of a frame, written into `folder`."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "data.parquet"
        frame.to_parquet(file, index=False)
        return load(str(file), folder, target, **rules)


def splits_of(
    frames: list[pd.DataFrame], folder: Path, target: str = "Class", times: Any = None
) -> Splits:
    """Return splits with given rows, whose times follow one another."""
    folder.mkdir(exist_ok=True, parents=True)
    names = [name for name in frames[0].columns if name != target]
    writer = SplitWriter(folder, list(map(Feature, names)), target)
    done = 0
    for name, frame in zip(("training", "validation", "test"), frames, strict=True):
        rows = frame[[*names, target]].astype(dict.fromkeys(names, "float64"))
        if times is not None:
            rows = rows.assign(time=pd.Series(times).to_numpy()[done : done + len(frame)])
        done += len(frame)
        writer.add(
            name, pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
        )
    SplitsDescription.of(
        writer.close("Time"),
        source="table",
        target=target,
        time_column="Time",
        split="temporal" if times is not None else "stratified",
        duplicates=0,
    ).write(folder)
    return Splits(folder)
