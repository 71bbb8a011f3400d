"""The champion over whole tables, on a Spark of several processes."""

import json
import signal

import numpy as np
import pandas as pd
import pytest

from serving.batch import PREDICTION_COLUMNS
from serving.prediction import batch_prediction_ids
from serving.scorer import PortableScorer
from tests.conftest import PROJECT, Workspace, logged, named, wait_for

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
def expected(workspace: Workspace, finished, table, tmp_path_factory) -> pd.DataFrame:
    """What the champion's scorer says of the rows, as the service uses it."""
    folder = tmp_path_factory.mktemp("champion")
    client = workspace.client
    version = client.get_model_version_by_alias("credit-card-fraud", "champion")
    (source,) = [tag for tag in [version.run_id] if tag]
    model = client.download_artifacts(source, "scorer", str(folder)) if False else None
    assert model is None
    import mlflow

    mlflow.set_tracking_uri(workspace.tracking_uri)
    try:
        path = mlflow.artifacts.download_artifacts(
            f"models:/credit-card-fraud/{version.version}", dst_path=str(folder)
        )
    finally:
        mlflow.set_tracking_uri(None)
    scorer = PortableScorer.load(f"{path}/artifacts/scorer")
    scores = scorer.score(table)
    return table.assign(score=scores, label=(scores >= scorer.manifest.threshold).astype("int32"))
