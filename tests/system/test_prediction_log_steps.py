"""Entry points `export_predictions` and `purge_predictions`."""

import pandas as pd
import pytest

from tests.support.log_fixtures import MODEL, open_prediction_log, prediction_rows

pytestmark = pytest.mark.usefixtures("spool")


def test_export_and_purge_entry_points(workspace, tmp_path):
    uri, output = f"sqlite:///{tmp_path}/log.db", tmp_path / "out.parquet"
    with open_prediction_log(uri) as log:
        log.record(prediction_rows(3), MODEL, "test")
    done = workspace.run("export_predictions", output=str(output), log_uri=uri)
    assert done.returncode == 0, done.stderr
    assert "exported 3 predictions" in done.stderr + done.stdout
    assert len(pd.read_parquet(output)) == 3
    done = workspace.run("purge_predictions", before="2020-01-01", log_uri=uri)
    assert done.returncode == 0, done.stderr
    assert "deleted 0 predictions and 0 labels" in done.stderr + done.stdout
