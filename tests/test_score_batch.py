"""The champion over whole tables, on a Spark of several processes."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from serving.prediction import batch_prediction_ids
from serving.scorer import PortableScorer
from tests.conftest import PROJECT, logged, named, wait_for

CLUSTER = "local-cluster[2,1,1024]"


@pytest.mark.quick
def test_ids_follow_from_job_and_row_alone():
    ids = batch_prediction_ids("job", 0, 5)
    assert ids == batch_prediction_ids("job", 0, 2) + batch_prediction_ids("job", 2, 3)
    assert len({*ids, *batch_prediction_ids("other", 0, 5)}) == 10
    assert all(len(id_) == 36 and id_[14] == "8" for id_ in ids)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The real sample with the caller's ids; Class and Time are columns like any other."""
    rows = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet")
    return rows.assign(id=[f"row-{number}" for number in range(len(rows))])


@pytest.fixture(scope="module")
def scorer(workspace, finished, tmp_path_factory) -> PortableScorer:
    """The champion's scorer, as the service uses it."""
    path = mlflow.artifacts.download_artifacts(
        "models:/credit-card-fraud@champion",
        dst_path=str(tmp_path_factory.mktemp("champion")),
        tracking_uri=workspace.tracking_uri,
        registry_uri=workspace.tracking_uri,
    )
    return PortableScorer.load(Path(path) / "artifacts" / "scorer")


def score(workspace, source: Path, output: Path, **parameters: str):
    return workspace.run("score_batch", input=str(source), output=str(output), **parameters)


def test_it_scores_as_the_service_goes_on_after_a_kill_and_logs_each_row_once(
    workspace, table, scorer, tmp_path
):
    source, output, database = (tmp_path / name for name in ("in.csv", "out", "log.db"))
    table.to_csv(source, index=False)
    options = {"log_predictions": "true", "log_uri": f"sqlite:///{database}"}
    unfinished = tmp_path / "out.unfinished"
    running = workspace.start(
        "score_batch", input=str(source), output=str(output), spark_master=CLUSTER, **options
    )
    parts = wait_for(lambda: list(unfinished.glob("part-*.parquet")), 120)
    for process in named(running.outer, "-m steps.score_batch"):
        process.kill()
    running.wait()
    assert not output.exists(), "nothing looks whole"
    written = {part: part.stat().st_mtime_ns for part in parts}

    done = score(workspace, source, output, spark_master=CLUSTER, **options)
    assert done.returncode == 0, done.stderr
    assert "parts are there already" in done.stderr
    assert not unfinished.exists()
    for part, moment in written.items():
        assert (output / part.name).stat().st_mtime_ns == moment, "a finished part is kept"
    assert not list(output.glob(".*"))
    assert not (output / "job.json").exists()

    scored = pd.read_parquet(output).set_index("id").loc[table["id"]]
    assert list(scored.columns[-5:]) == [
        "prediction_id", "score", "label", "model_name", "model_version",
    ]  # fmt: skip
    np.testing.assert_array_equal(scored["score"], scorer.score(table))  # bit for bit
    expected = (scored["score"] >= scorer.manifest.threshold).astype(int)
    np.testing.assert_array_equal(scored["label"], expected)
    assert scored["prediction_id"].is_unique

    stored = pd.DataFrame(logged(database)).set_index("prediction_id")
    assert len(stored) == len(table)
    np.testing.assert_array_equal(
        stored.loc[scored["prediction_id"], "score"], scored["score"].to_numpy()
    )
    assert set(stored["source"]) == {"score_batch"}
    assert stored["entity_id"].is_unique
    (run, *_) = workspace.runs("attributes.run_name = 'score_batch'")
    assert run.data.metrics["rows"] == len(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V3": "many"}, "column V3: must be numeric, it is string"),
        ({"V3": np.nan}, "column V3, row 0: must not be missing"),
        ({"score": 1.0}, "column score: must be renamed"),
    ],
    ids=["text", "missing", "taken"],
)
def test_a_table_that_does_not_fit_leaves_no_output(
    workspace, scorer, table, tmp_path, change, message
):
    source, output = tmp_path / "in.parquet", tmp_path / "out"
    table.head(100).assign(**change).to_parquet(source)
    done = score(workspace, source, output, spark_master="local[1]")
    assert done.returncode != 0
    assert f"ml-pipes: score_batch: {source}: {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
