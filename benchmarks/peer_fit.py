"""Fit of one AutoML peer, run by `benchmarks.peers` with the Python of the peer's environment.

python peer_fit.py SYSTEM FOLDER

`FOLDER` holds `task.json`, `training.parquet` and `test.parquet`, which has no target. The result
is `scores.parquet`, the probability of class 1 of each test row, and `fit.json`.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

Task = dict[str, Any]


def main(system: str, folder: Path) -> None:
    """Fit `system` on the rows in `folder`, and write its scores of the test rows there."""
    task = json.loads((folder / "task.json").read_text())
    training = read(folder / "training.parquet", task)
    test = read(folder / "test.parquet", task)
    start = time.monotonic()
    if system == "flaml":
        package, scores = "flaml", flaml(training, test, task)
    else:
        preset = system.removeprefix("autogluon_")
        package, scores = "autogluon.tabular", autogluon(training, test, task, folder, preset)
    seconds = time.monotonic() - start
    pd.DataFrame({"score": scores}).to_parquet(folder / "scores.parquet")
    facts = {"version": version(package), "fit_seconds": round(seconds, 1)}
    (folder / "fit.json").write_text(json.dumps(facts))


def read(file: Path, task: Task) -> pd.DataFrame:
    """Return the rows of `file`; each category has the levels of all rows of the table."""
    frame = pd.read_parquet(file)
    for name, levels in task["levels"].items():
        frame[name] = pd.Categorical(frame[name], categories=levels)
    return frame


def flaml(training: pd.DataFrame, test: pd.DataFrame, task: Task) -> Any:
    """Return the scores of FLAML with its defaults."""
    from flaml import AutoML

    model = AutoML()
    model.fit(
        dataframe=training,
        label=task["target"],
        task="classification",
        metric="roc_auc",
        time_budget=task["limit"],
        seed=task["seed"],
        verbose=0,
        log_file_name="",
    )
    return model.predict_proba(test)[:, 1]


def autogluon(
    training: pd.DataFrame, test: pd.DataFrame, task: Task, folder: Path, preset: str
) -> Any:
    """Return the scores of AutoGluon with a preset."""
    from autogluon.tabular import TabularPredictor

    predictor = TabularPredictor(
        label=task["target"],
        problem_type="binary",
        eval_metric="roc_auc",
        path=str(folder / "models"),
        verbosity=1,
    )
    predictor.fit(training, presets=preset, time_limit=task["limit"])
    return predictor.predict_proba(test)[1].to_numpy()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
