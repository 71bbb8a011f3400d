"""Table and parameters of the retraining of a champion with its log."""

import mlflow
import pandas as pd
import pytest

from serving.log.existing import open_log
from steps.data.origin import BASE, TIMES_FROM
from steps.monitoring.retraining_data import build_retraining_data
from steps.registry.versions import get_champion
from tests.support.earlier_release import unpack_earlier_release
from tests.support.workspaces import Workspace, tracking_in

MODEL = "credit-card-fraud"


@pytest.mark.quick
def test_times_count_from_those_of_the_champion(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPIPES_CACHE", str(tmp_path / "cache"))
    earlier = Workspace(unpack_earlier_release(tmp_path / "earlier"))
    uri = f"sqlite:///{earlier.folder}/predictions.db"

    def build():
        with tracking_in(earlier), open_log(uri) as connection:
            return build_retraining_data(connection, MODEL, get_champion(MODEL))

    first = build()
    assert first.added
    before = first.times_from - pd.Timedelta(hours=1)
    with tracking_in(earlier):
        champion = get_champion(MODEL)
        with mlflow.start_run() as monitoring:
            mlflow.set_tags({BASE: first.base_run_id, TIMES_FROM: before.isoformat()})
        with mlflow.start_run() as loading:
            mlflow.log_param("data", f"runs:/{monitoring.info.run_id}/retraining.parquet")
        mlflow.MlflowClient().set_model_version_tag(
            MODEL, champion.version, "data_run_id", loading.info.run_id
        )
    again = build()
    assert (again.added, again.times_from) == (first.added, before)
    moved = again.table["Time"] - first.table["Time"]
    assert (moved.iloc[: -first.added] == 0).all()
    assert moved.iloc[-first.added :].tolist() == pytest.approx([3600.0] * first.added)
