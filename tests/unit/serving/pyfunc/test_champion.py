"""Recognition of a prediction server."""

import io
import sys

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from serving.pyfunc import champion
from serving.pyfunc.invocation import check_index

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("modules", "environment", "served"),
    [
        ({}, {}, False),
        ({"mlflow.pyfunc.scoring_server.app": None}, {}, True),
        ({"mlflow.pyfunc.scoring_server.app": None}, {"PYTHON_WORKER_FACTORY_SECRET": "x"}, False),
    ],
    ids=["notebook", "server", "server below a Spark worker"],
)
def test_is_served_in_a_server_only(monkeypatch, modules, environment, served):
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert champion.is_served() is served


@pytest.mark.parametrize("lines", ["1.5,2,3\n", "a,2,3\n", "1.5,2,3\n4,5,6\n", "1,2,3,4\n"])
def test_shifted_csv_is_rejected(lines):
    """As MLflow's server reads it; it refuses a longer line that follows shorter ones itself."""
    frame = pd.read_csv(io.StringIO("V1,gap\n" + lines))
    with pytest.raises(MlflowException, match="row 0: has more values than the header"):
        check_index(frame)


@pytest.mark.parametrize("index", [None, [17, 4]])
def test_index_of_integers_is_accepted(index):
    check_index(pd.DataFrame({"V1": [1.0, 2.0]}, index=index))
    check_index(pd.DataFrame({"V1": []}))


def test_served_champion_checks_the_index(monkeypatch):
    model = champion.Champion()
    monkeypatch.setattr(champion, "invoke", lambda *_: "answer")
    model._scorer = model._model = None
    frame = pd.DataFrame({"V1": [1.0]}, index=[0.5])
    model._served = False
    assert model.predict(None, frame) == "answer"
    model._served = True
    with pytest.raises(MlflowException):
        model.predict(None, frame)
