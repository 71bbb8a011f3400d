"""A registry of its own for tests in this process."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from tests.support.workspaces import Workspace, tracking_in


@pytest.fixture(scope="module")
def registry_workspace(tmp_path_factory) -> Workspace:
    """A tracking store and registry without any run, set up."""
    workspace = Workspace(tmp_path_factory.mktemp("registry"))
    with tracking_in(workspace):
        MlflowClient().search_registered_models()
    return workspace


@pytest.fixture
def empty_registry(registry_workspace) -> Iterator[Workspace]:
    """MLflow's functions use the module's store and registry."""
    with tracking_in(registry_workspace):
        yield registry_workspace
