"""Where people read the pages of MLflow."""

import mlflow
import pytest

from steps.runtime.mlflow_pages import UI_URL, Pages, find_pages
from steps.runtime.mlproject import PROJECT

pytestmark = pytest.mark.quick


@pytest.fixture(autouse=True)
def tracking_uri(monkeypatch, request):
    monkeypatch.delenv("MLPIPES_MLFLOW_URL", raising=False)
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: request.getfixturevalue("uri"))


@pytest.mark.parametrize(
    ("uri", "pages"),
    [
        ("http://mlflow:5000", Pages("http://mlflow:5000")),
        ("https://me:secret@example.com/mlflow/", Pages("https://example.com/mlflow")),
        (f"sqlite:///{PROJECT}/mlflow.db", Pages(UI_URL, "make ui")),
        (
            "sqlite:////tmp/a b/mlflow.db",
            Pages(UI_URL, "mlflow ui --backend-store-uri 'sqlite:////tmp/a b/mlflow.db'"),
        ),
        (
            "postgresql://me:secret@db/mlflow",
            Pages(UI_URL, 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'),
        ),
        ("databricks", None),
        ("databricks://profile", None),
    ],
)
def test_pages_follow_from_tracking_uri(uri, pages):
    assert find_pages() == pages


@pytest.mark.parametrize("uri", ["http://mlflow:5000"])
def test_published_address_replaces_that_of_the_steps(uri, monkeypatch):
    monkeypatch.setenv("MLPIPES_MLFLOW_URL", "https://mlflow.example.com/")
    assert find_pages() == Pages("https://mlflow.example.com")
