"""Bad input: one clear line, and nothing is registered."""

import pandas as pd
import pytest

from steps.pipeline.errors import ParameterError
from steps.pipeline.parameters import PARAMETERS
from steps.pipeline.step import parse
from tests.conftest import PROJECT, Workspace

WRONG_VALUES = {
    "engines": ("h2o,weka", "'weka' is not one of"),
    "split": ("random", "is not one of"),
    "metric": ("accuracy", "is not one of"),
    "profile": ("huge", "is not one of"),
    "promotion": ("never", "is not one of"),
    "seed": ("-1", "not in the range"),
    "refit": ("perhaps", "not a valid boolean"),
    "model_name": ("a/b", "must not be empty or hold a slash"),
    "data": (" ", "must not be empty"),
    "output": ("out.xlsx", "must end with .csv or .parquet"),
    "since": ("yesterday", "not a time such as"),
    "until": ("2026-13-01", "not a time such as"),
    "before": ("", "not a time such as"),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", WRONG_VALUES)
def test_a_wrong_value_is_one_line_that_names_the_parameter(name):
    value, rule = WRONG_VALUES[name]
    with pytest.raises(ParameterError) as caught:
        parse([name], [f"--{name}", value], "main", None)
    assert name in str(caught.value)
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.quick
def test_engines_are_taken_once_each_and_in_order():
    found = parse(["engines"], ["--engines", " spark,h2o,spark "], "main", None)
    assert found == {"engines": ["spark", "h2o"]}
    assert set(WRONG_VALUES) <= set(PARAMETERS)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("empty"))


def text_column(folder):
    sample = pd.read_parquet(PROJECT / "data" / "creditcard_sample.parquet").head(500)
    sample.assign(V3="many").to_csv(folder / "text.csv", index=False)
    return {"data": str(folder / "text.csv")}


RUNS = {
    "unknown engine": (lambda _: {"engines": "weka"}, "main", "'weka' is not one of"),
    "no such file": (lambda f: {"data": f"{f}/none.csv"}, "load_data", "no such file"),
    "text column": (text_column, "load_data", "text.csv: column V3: must be numeric"),
    "no H2O there": (
        lambda _: {"data": "sample", "engines": "h2o", "h2o_url": "http://127.0.0.1:9"},
        "train_h2o",
        "no H2O answers at http://127.0.0.1:9",
    ),
    "no Spark there": (
        lambda _: {"data": "sample", "engines": "spark", "spark_master": "nonsense"},
        "train_spark",
        "no Spark at nonsense",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_cannot_be_says_so_once_and_registers_nothing(empty, name):
    parameters, step, message = RUNS[name]
    done = empty.run(profile="quick", **parameters(empty.folder))
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("ml-pipes: ")]
    assert ours[0].startswith(f"ml-pipes: {step}: ")
    assert message in ours[0]
    assert len(ours) == (1 if step == "main" else 2), ours  # the workflow names its failed step
    assert "Traceback" not in done.stderr
    assert not empty.client.search_registered_models()
    newest = empty.runs("attributes.run_name = 'main'")[0]
    assert newest.info.status == "FAILED"
    assert newest.data.tags["error"]
