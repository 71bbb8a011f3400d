"""Entry point `score_batch`."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.log_fixtures import logged_rows
from tests.support.processes import processes_matching
from tests.support.project import PROJECT
from tests.support.waiting import wait_until

CLUSTER = "local-cluster[2,1,1024]"


def run_score_batch(workspace, source: Path, output: Path, **parameters: str):
    return workspace.run("score_batch", input=str(source), output=str(output), **parameters)


def test_killed_batch_resumes_and_logs_rows_once(workspace, transactions, batch_champion, tmp_path):
    source, output, database = (tmp_path / name for name in ("in.csv", "out", "log.db"))
    transactions.to_csv(source, index=False)
    options = {
        "input": str(source),
        "output": os.path.relpath(output, PROJECT),  # the workers are somewhere else
        "spark_master": CLUSTER,
        "log_predictions": "true",
        "log_uri": f"sqlite:///{database}",
    }
    unfinished = tmp_path / "out.unfinished"
    running = workspace.start("score_batch", **options)
    parts = wait_until(lambda: list(unfinished.glob("part-*.parquet")), 120)
    for process in processes_matching(running.outer, "-m steps.score_batch"):
        process.kill()
    running.wait()
    assert not output.exists(), "nothing looks whole"
    (unfinished / ".part-00000.parquet.of-a-worker-that-was-killed").touch()
    written = {part: part.stat().st_mtime_ns for part in parts}

    done = workspace.run("score_batch", **options)
    assert done.returncode == 0, done.stderr
    assert "parts already done" in done.stderr
    assert not unfinished.exists()
    for part, moment in written.items():
        assert (output / part.name).stat().st_mtime_ns == moment, "a finished part is kept"
    assert not list(output.glob(".*"))

    scored = pd.read_parquet(output).set_index("id").loc[transactions["id"]]
    assert list(scored.columns[-5:]) == [
        "prediction_id", "score", "label", "model_name", "model_version",
    ]  # fmt: skip
    np.testing.assert_array_equal(
        scored["score"], batch_champion.scorer.score(transactions)
    )  # bit for bit
    expected = (scored["score"] >= batch_champion.scorer.manifest.threshold).astype(int)
    np.testing.assert_array_equal(scored["label"], expected)
    assert scored["prediction_id"].is_unique

    stored = pd.DataFrame(logged_rows(database)).set_index("prediction_id")
    assert len(stored) == len(transactions)
    np.testing.assert_array_equal(
        stored.loc[scored["prediction_id"], "score"], scored["score"].to_numpy()
    )
    assert set(stored["source"]) == {"score_batch"}
    assert stored["entity_id"].is_unique
    (run, *_) = workspace.runs("attributes.run_name = 'score_batch'")
    assert run.data.metrics["rows"] == len(transactions)


def test_text_in_numeric_column_is_one_line(workspace, completed_run, transactions, tmp_path):
    source, output = tmp_path / "in.csv", tmp_path / "out"
    transactions.head(100).assign(V3="many").to_csv(source, index=False)
    done = run_score_batch(workspace, source, output, spark_master="local[1]")
    assert done.returncode != 0
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("ml-pipes:")]
    assert (
        f"score_batch: {source}: column V3, row 0: must be a number, not a string, 'many'" in line
    )
    assert "Traceback" not in done.stderr
    assert "\tat org.apache.spark" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]
