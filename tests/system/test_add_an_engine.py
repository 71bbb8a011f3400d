"""The worked example of docs/add-an-engine.md, run in a copy of the project."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.project import PROJECT
from tests.support.workspaces import Workspace

PAGE = PROJECT / "docs" / "add-an-engine.md"


@pytest.fixture(scope="module")
def extended_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with just the file and the entry point of the page added."""
    copy = tmp_path_factory.mktemp("extended") / "ml-pipes"
    tracked = subprocess.run(
        ["git", "ls-files", "MLproject", "*.yaml", "*.txt", "steps", "serving", "data"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, copy / name)
    page = PAGE.read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (entry_point,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (file,) = re.findall(r"^`(steps/engines/\w+\.py)`:$", page, re.MULTILINE)
    (copy / file).write_text(source)
    with (copy / "MLproject").open("a") as stream:
        stream.write("\n" + entry_point)
    return copy


def test_documented_engine_wins_and_is_refitted(extended_project, tmp_path):
    workspace = Workspace(tmp_path)
    done = workspace.mlflow(
        "run", str(extended_project), "--env-manager", "local",
        "-P", "data=sample", "-P", "profile=quick", "-P", "engines=lightgbm",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    candidates = workspace.runs("tags.engine = 'lightgbm' and tags.refittable = 'true'")
    assert len(candidates) == 2
    assert {run.data.tags["proven"] for run in candidates} == {"true"}
    champion = workspace.client.get_model_version_by_alias("credit-card-fraud", "champion")
    assert champion.tags["engine"] == "lightgbm"
    assert champion.tags["refit"] == "true"
    (refit,) = workspace.runs(f"tags.refit_of = '{champion.tags['candidate_run_id']}'")
    assert refit.info.run_id == champion.tags["model_run_id"]
