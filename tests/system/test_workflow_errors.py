"""Bad input to the whole workflow."""

import pytest

from tests.support.workspaces import Workspace


@pytest.fixture(scope="module")
def empty_workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("empty"))


RUNS = {
    "unknown engine": ({"engines": "weka"}, "main", "'weka' is not one of"),
    "no such file": ({"data": "none.csv"}, "load_data", "none.csv: no such file"),
    "no Spark there": (
        {"data": "sample", "engines": "spark", "spark_master": "nonsense"},
        "train_spark",
        "no Spark at nonsense",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_failed_workflow_names_its_step(empty_workspace, name):
    parameters, step, message = RUNS[name]
    done = empty_workspace.run(profile="quick", **parameters)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("ml-pipes: ")]
    assert ours[0].startswith(f"ml-pipes: {step}: ")
    assert all(message in line for line in ours), ours  # the workflow repeats its step's reason
    assert len(ours) == (1 if step == "main" else 2), ours
    assert "Traceback" not in done.stderr
    assert not empty_workspace.client.search_registered_models()
    newest = empty_workspace.runs("attributes.run_name = 'main'")[0]
    assert newest.info.status == "FAILED"
    assert message in newest.data.tags["error"]
