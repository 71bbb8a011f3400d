"""Steps run in this process, with a tracking store of their own."""

import signal
import sys
from importlib import import_module
from pathlib import Path

import mlflow
import pytest

from steps.runtime.mlproject import module_of
from tests.support.workspaces import Workspace, step_options


class InProcessSteps:
    """Runs steps in this process, with a tracking store of their own."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder)
        self.uri = self.workspace.tracking_uri

    def run(self, name: str, **parameters: str) -> int:
        """Run the step `name` as MLflow would, and return its exit status."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [name, *step_options(name, parameters)])
            patch.setattr(sys, "unraisablehook", sys.unraisablehook)  # restored at the end
            mlflow.set_tracking_uri(self.uri)
            try:
                getattr(import_module(module_of(name)), name)()
            except SystemExit as end:
                return int(end.code or 0)
            finally:
                mlflow.set_tracking_uri(None)
                for number, handler in before.items():
                    signal.signal(number, handler)
        return 0

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.uri, self.uri)


@pytest.fixture(scope="module")
def in_process_steps(tmp_path_factory):
    return InProcessSteps(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def data_run(in_process_steps):
    """The run of a `load_data` that went well."""
    assert in_process_steps.run("load_data", data="sample") == 0
    return in_process_steps.client.search_runs(["0"])[0].info.run_id
