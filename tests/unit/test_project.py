"""Locks, conda.yaml, MLproject and the imports of serving."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from steps.runtime.mlproject import engine_names, module_of
from steps.runtime.parameters import PARAMETERS
from tests.support.project import PROJECT

pytestmark = pytest.mark.quick

MLPROJECT = yaml.safe_load((PROJECT / "MLproject").read_text())


def test_requirements_are_exact_and_hashed():
    locks = [PROJECT / "requirements.txt", *PROJECT.glob("requirements/*.txt")]
    assert len(locks) == 7
    for lock in locks:
        text = lock.read_text()
        named = re.findall(r"(?m)^([A-Za-z0-9._-]+)(\[.*\])?==[^ ]+", text)
        assert named
        assert not re.search(r"(?m)^[A-Za-z0-9._-]+(\[.*\])? *[<>~]", text)
        blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text
        assert "--index-url" not in text


def test_conda_environment_uses_the_lock():
    conda = yaml.safe_load((PROJECT / "conda.yaml").read_text())
    assert conda["dependencies"] == [
        "python=3.11",
        "openjdk=17",
        "pip",
        {"pip": ["-r requirements.txt"]},
    ]


@pytest.mark.parametrize("name", MLPROJECT["entry_points"])
def test_entry_points_pass_each_parameter_once(name):
    entry = MLPROJECT["entry_points"][name]
    assert module_of(name).rpartition(".")[2] == name.removeprefix("train_")
    passed = re.findall(r"--(\w+) \{(\w+)\}", entry["command"])
    assert all(option == value for option, value in passed)
    assert sorted(option for option, _ in passed) == sorted(entry["parameters"])
    assert set(entry["parameters"]) <= set(PARAMETERS)


def test_defaults_are_consistent():
    main = MLPROJECT["entry_points"]["main"]["parameters"]
    for entry in MLPROJECT["entry_points"].values():
        for name, declared in entry["parameters"].items():
            assert declared == main.get(name, declared)


def test_engines_have_a_module_of_their_name():
    assert engine_names()
    for name in engine_names():
        assert module_of(f"train_{name}") == f"steps.engines.{name}"
        assert (PROJECT / "steps" / "engines" / f"{name}.py").is_file()


@pytest.mark.parametrize(
    ("arguments", "experiment"),
    [
        ("", "--experiment-name credit-card-fraud"),
        ("-P model_name=churn -P data=churn.csv", "--experiment-name churn"),
        ("-P 'model_name=my model'", "--experiment-name credit-card-fraud"),
        ("--experiment-name mine", "--experiment-name mine"),
        ("--experiment-id 3", "--experiment-id 3"),
    ],
)
def test_make_runs_in_the_experiment_of_the_model(arguments, experiment):
    command = ["make", "--dry-run", "run", f"ARGS={arguments}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
    )
    (line,) = re.findall(r"(?m)^mlflow run .*", done.stdout)
    assert re.findall(r"--experiment-\w+ [\w-]+", line) == [experiment]


def test_packages_of_steps_import_in_one_direction():
    """The layers are those that docs/how-it-works.md lists."""
    page = (PROJECT / "docs" / "how-it-works.md").read_text()
    rows = re.search(r"(?s)\| entry points \|[^\n]*\n(.*?)\n(\n|$)", page)[1].splitlines()
    layers = [re.findall(r"`(\w+)`", row) for row in reversed(rows)]
    packages = {file.parent.name for file in PROJECT.glob("steps/*/__init__.py")}
    assert sorted(name for layer in layers for name in layer) == sorted(packages)
    level = {name: height for height, layer in enumerate(layers) for name in layer}
    for file in PROJECT.glob("steps/*/*.py"):
        package = file.parent.name
        for imported in re.findall(r"(?m)^\s*(?:from|import) steps\.(\w+)", file.read_text()):
            assert imported == package or level[imported] < level[package], file


def test_serving_imports_no_training_library():
    code = """
import sys
for absent in ("steps", "h2o", "pycaret", "pyspark", "sklearn", "lightgbm", "scipy", "onnx"):
    sys.modules[absent] = None  # importing it fails
import serving.app, serving.pyfunc.champion, serving.model.runtimes, serving.model.scorer
import serving.log.prediction_log
import onnxruntime, jpype
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
